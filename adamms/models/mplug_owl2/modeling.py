"""mPLUG-Owl2 as transformers has its own models: the published parameter names, KV cache, generation.

Source: X-PLUG/mPLUG-Owl, mPLUG-Owl2/mplug_owl2/model/modeling_mplug_owl2.py. Knows nothing of prompts:
`token_type_ids` are 1 where an image's embedding replaces the token's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import (
    LlamaModel,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from adamms.models.causal import IMAGE, ImageTextHead, embedded, with_images
from adamms.models.mplug_owl2.abstractor import VisualAbstractor
from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config
from adamms.models.mplug_owl2.language import Modalities, MPLUGOwl2Attention, MPLUGOwl2DecoderLayer
from adamms.models.mplug_owl2.vision import VisionModel


class MPLUGOwl2PreTrainedModel(LlamaPreTrainedModel):
    config: MPLUGOwl2Config
    input_modalities = ("image", "text")
    _no_split_modules = ["MPLUGOwl2DecoderLayer", "VisionLayer", "AbstractorBlock"]  # noqa: RUF012
    _can_compile_fullgraph = False
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": MPLUGOwl2DecoderLayer,
        "attentions": MPLUGOwl2Attention,
    }
    # Constants that files may hold: the rotary frequencies (the published one does) and fixed positions.
    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq$", r"\.[qk]_pos_embed$"]  # noqa: RUF012


class MPLUGOwl2Model(MPLUGOwl2PreTrainedModel, LlamaModel):
    """Llama with layers that know modalities, a vision encoder and an abstractor; without the head."""

    def __init__(self, config: MPLUGOwl2Config) -> None:
        PreTrainedModel.__init__(self, config)  # Llama's own would make layers that are not used
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(
            MPLUGOwl2DecoderLayer(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.vision_model = VisionModel(config.visual_model)
        self.visual_abstractor = VisualAbstractor(config.visual_abstractor, config.hidden_size)
        self.gradient_checkpointing = False
        self.post_init()

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """(images, 3, height, width) to (images, `config.image_seq_length`, hidden)."""
        return self.visual_abstractor(self.vision_model(pixel_values))

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        **options: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states (batch, sequence, hidden).

        Args:
            pixel_values: (images, 3, height, width), the images of the whole batch in order.
            token_type_ids: (batch, sequence), 1 at every position of an image; None: all is text.
            attention_mask: (batch, past + sequence), 0 at padding.
            position_ids: by default every token but padding counts, of image or text.
            options: Llama's other arguments, those of attention functions and output capturing included.

        Raises:
            AdammsError: image positions and images do not match; neither or both of ids and embeddings.
        """
        hidden = embedded(self.embed_tokens, input_ids, inputs_embeds)
        hidden, modalities = self._with_images(hidden, pixel_values, token_type_ids)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = _positions(hidden, attention_mask, past)
        return super().forward(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=hidden,
            modalities=modalities,
            **options,
        )

    def _with_images(
        self, hidden: Tensor, pixel_values: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[Tensor, Modalities | None]:
        """The embeddings with those of images in their places, and which are which (None: all text)."""
        if pixel_values is None and (token_type_ids is None or hidden.shape[1] == 1):
            return hidden, None  # also every step of a cached generation
        if token_type_ids is None:
            token_type_ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        images = None if pixel_values is None else self.get_image_features(pixel_values)
        hidden = with_images(hidden, token_type_ids == IMAGE, images)
        return hidden, None if pixel_values is None else Modalities.of(token_type_ids)


class MPLUGOwl2LlamaForCausalLM(ImageTextHead, MPLUGOwl2PreTrainedModel, GenerationMixin):
    """mPLUG-Owl2 with its head; the name is the published config.json's."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: MPLUGOwl2Config) -> None:
        super().__init__(config)
        self.model = MPLUGOwl2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, **inputs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """transformers repeats each image; here an example's images stay together, in order."""
        pixels, types = inputs.pop("pixel_values", None), inputs.get("token_type_ids")
        if pixels is not None and types is not None and expand_size > 1:
            counts = (types == IMAGE).sum(dim=1) // self.config.image_seq_length
            of_examples = pixels.split(counts.tolist())
            pixels = torch.cat([images for images in of_examples for _ in range(expand_size)])
        ids, expanded = super()._expand_inputs_for_generation(
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, **inputs
        )
        return ids, expanded | ({} if pixels is None else {"pixel_values": pixels})


def _positions(hidden: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
    """(batch or 1, sequence): a token's place among those that are not padding."""
    length = hidden.shape[1]
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(past, past + length, device=hidden.device)[None]
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
