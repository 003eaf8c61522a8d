"""CogVLM as transformers' `PreTrainedModel`: embeddings, decoder, head, and generation with a cache.

Parameters have the names and shapes of the published checkpoints, so that these load as they are.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from adamms.errors import AdammsError
from adamms.models.causal import IMAGE, TEXT, ImageTextHead, embedded, with_images
from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.cogvlm.language import CogVLMDecoderLayer, CogVLMRMSNorm, rotation
from adamms.models.cogvlm.layout import positions, route
from adamms.models.cogvlm.vision import CogVLMPatchEmbedding, CogVLMVision


class CogVLMPreTrainedModel(PreTrainedModel):
    config: CogVLMConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    _no_split_modules: ClassVar[list[str]] = ["CogVLMDecoderLayer", "CogVLMVisionLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_sdpa = True
    _supports_attention_backend = True
    # A constant that published files hold for each layer.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"rotary_emb\.inv_freq$"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, CogVLMPatchEmbedding):
            init.normal_(module.cls_embedding, mean=0.0, std=std)
        elif isinstance(module, CogVLMVision):
            init.normal_(module.boi, mean=0.0, std=std)
            init.normal_(module.eoi, mean=0.0, std=std)


class CogVLMModel(CogVLMPreTrainedModel):
    """Everything but the head."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(CogVLMDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.vision = CogVLMVision(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
    ) -> BaseModelOutputWithPast:
        """Hidden states of the last layer, normed.

        Args:
            input_ids: (batch, length); the ids at an image's tokens are not used.
            pixel_values: (images, channels, size, size) in the order of their prompts.
            token_type_ids: 1 for an image's tokens, else 0, (batch, length); None: all text.
            attention_mask: 1 for tokens, 0 for padding, (batch, cached + length).
            position_ids: (batch, length); None: from the token types. Needed if something is cached, as
                the cache does not know the positions.
            inputs_embeds: in place of `input_ids`, (batch, length, hidden size).

        Raises:
            AdammsError: neither or both of `input_ids` and `inputs_embeds`; images that do not go with the
                token types; no positions although something is cached.
        """
        hidden = embedded(self.embed_tokens, input_ids, inputs_embeds)
        if token_type_ids is None:
            token_type_ids = torch.full(hidden.shape[:2], TEXT, device=hidden.device)
        if pixel_values is not None:
            images = self.vision(pixel_values.to(hidden.dtype))  # (images, patches + 2, hidden size)
            hidden = with_images(hidden, token_type_ids == IMAGE, images)
        if use_cache if use_cache is not None else self.config.use_cache:
            past_key_values = DynamicCache(config=self.config) if past_key_values is None else past_key_values
        if position_ids is None:
            if past_key_values is not None and past_key_values.get_seq_length():
                raise AdammsError("what follows cached tokens needs position_ids")
            plain = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
            position_ids = positions(token_type_ids, plain)
        # Positions are left out: repeated ones would be taken for several packed sequences.
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
        )
        routing = route(token_type_ids)
        turn = rotation(position_ids, self.config.head_dim)
        for layer in self.layers:
            hidden = layer(hidden, routing, turn, mask, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=past_key_values)


class CogVLMForCausalLM(ImageTextHead, CogVLMPreTrainedModel, GenerationMixin):
    """CogVLM with its head (Wang et al., arXiv:2311.03079)."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        self.model = CogVLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _prepare_position_ids_for_generation(
        self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any]
    ) -> torch.Tensor:
        types = model_kwargs.get("token_type_ids")
        if types is None:
            return super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)
        return positions(types, model_kwargs.get("attention_mask"))
