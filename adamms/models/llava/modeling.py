"""The original LLaVA as transformers' `PreTrainedModel`: Llama, a projector in it, CLIP's ViT beside it.

Parameters have the names of the published checkpoints, whose vision tower is in a folder of its own.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import CLIPVisionModel, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from adamms.models.causal import with_images
from adamms.models.llava.configuration import LlavaLlamaConfig

IMAGE_TOKEN_ID = -200


class LlavaLlamaForCausalLM(LlamaForCausalLM):
    """LLaVA-1.5 (Liu et al., arXiv:2310.03744, section 3); with a norm after each linear layer, Yi-VL.

    Attributes:
        vision_tower: CLIP's ViT; None until it is loaded or given.
    """

    config: LlavaLlamaConfig
    input_modalities = ("image", "text")
    # Constants that published files hold for each layer.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"rotary_emb\.inv_freq$"]

    def __init__(self, config: LlavaLlamaConfig) -> None:
        super().__init__(config)
        self.model.mm_projector = _projector(config)
        self.vision_tower: CLIPVisionModel | None = None
        self.post_init()

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers', and then the vision tower, in the same dtype, from where config.json says."""
        found = super().from_pretrained(folder, *args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        place = model.config.tower(Path(folder))
        tower = CLIPVisionModel.from_pretrained(place, dtype=model.dtype)
        model.vision_tower = tower.to(model.device)
        return found

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the next tokens; the other arguments are Llama's.

        Args:
            input_ids: (batch, length), `IMAGE_TOKEN_ID` in the place of each of an image's patches.
            pixel_values: (images, 3, height, width) in the order of their places.

        Raises:
            AdammsError: images that do not go with the places.
        """
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self._embedded(input_ids, pixel_values)
        return super().forward(inputs_embeds=inputs_embeds, **kwargs)

    def _embedded(self, input_ids: torch.Tensor, pixels: torch.Tensor | None) -> torch.Tensor:
        """(batch, length, hidden size); what follows cached tokens has no image in it."""
        places = input_ids == IMAGE_TOKEN_ID
        embeddings = self.model.embed_tokens(input_ids.clamp(min=0))
        if not places.any():
            return embeddings
        return with_images(embeddings, places, None if pixels is None else self._features(pixels))

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(images, patches, hidden size): a hidden state of the tower without its class token, projected."""
        assert self.vision_tower is not None, "no vision tower was loaded"
        states = self.vision_tower(pixels.to(self.dtype), output_hidden_states=True).hidden_states
        return self.model.mm_projector(states[self.config.mm_vision_select_layer][:, 1:])


def _projector(config: LlavaLlamaConfig) -> nn.Sequential:
    """Published as 0 and 2, with norms as 0, 1, 3 and 4."""
    wide = config.hidden_size
    normed = config.mm_projector_type.endswith("_Norm")
    layers: list[nn.Module] = []
    for width in (config.mm_hidden_size, wide):
        layers += [nn.GELU()] * bool(layers) + [nn.Linear(width, wide)] + [nn.LayerNorm(wide)] * normed
    return nn.Sequential(*layers)
