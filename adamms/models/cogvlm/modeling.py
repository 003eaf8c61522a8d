"""CogVLM as transformers' `PreTrainedModel`: embeddings, decoder, head, and generation with a cache.

Parameters have the names and shapes of the published checkpoints, which load as they are.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.cogvlm.language import CogVLMDecoderLayer, CogVLMRMSNorm, rotation
from adamms.models.cogvlm.layout import IMAGE, TEXT, positions, route
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
            input_ids: (batch, length), anything where the image's tokens are.
            pixel_values: (images, channels, size, size) in the order of their prompts.
            token_type_ids: 1 for an image's tokens, else 0, (batch, length); None: all text.
            attention_mask: 1 for tokens, 0 for padding, (batch, cached + length).
            position_ids: (batch, length); None: from the token types, unless something is cached.
            inputs_embeds: in the place of `input_ids`, (batch, length, hidden size).

        Raises:
            ValueError: neither or both of `input_ids` and `inputs_embeds`; images that do not go with the
                token types; no positions although something is cached, as the cache does not know them.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if token_type_ids is None:
            token_type_ids = torch.full(hidden.shape[:2], TEXT, device=hidden.device)
        if pixel_values is not None:
            hidden = self._with_images(hidden, token_type_ids, pixel_values)
        if use_cache if use_cache is not None else self.config.use_cache:
            past_key_values = DynamicCache(config=self.config) if past_key_values is None else past_key_values
        if position_ids is None:
            if past_key_values is not None and past_key_values.get_seq_length():
                raise ValueError("what follows cached tokens needs position_ids")
            plain = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
            position_ids = positions(token_type_ids, plain)
        # Without positions: repeated ones would be taken for several sequences packed in one.
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
        )
        routing = route(token_type_ids)
        turn = rotation(position_ids, self.config.hidden_size // self.config.num_attention_heads)
        for layer in self.layers:
            hidden = layer(hidden, routing, turn, mask, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=past_key_values)

    def _with_images(self, hidden: torch.Tensor, types: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """The embeddings with the images' in their places."""
        places = types == IMAGE
        images = self.vision(pixels.to(hidden.dtype)).to(hidden.device)  # (images, patches + 2, hidden size)
        found, expected = int(places.sum()), images.shape[0] * images.shape[1]
        if found != expected:
            raise ValueError(
                f"{len(images)} images have {expected} tokens; token_type_ids mark {found} as an image's"
            )
        return hidden.masked_scatter(places[..., None], images.to(hidden.dtype))


class CogVLMForCausalLM(CogVLMPreTrainedModel, GenerationMixin):
    """CogVLM with its head (Wang et al., arXiv:2311.03079)."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        self.model = CogVLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
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
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
    ) -> CausalLMOutputWithPast:
        """Logits of the next tokens; arguments as `CogVLMModel.forward`'s.

        Args:
            labels: (batch, length), -100 where there is no loss; None: no loss.
            logits_to_keep: how many of the last tokens have logits, or their indices; 0: all.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            token_type_ids=token_type_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)

    def _prepare_position_ids_for_generation(
        self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any]
    ) -> torch.Tensor:
        types = model_kwargs.get("token_type_ids")
        if types is None:
            return super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)
        return positions(types, model_kwargs.get("attention_mask"))

    def _update_model_kwargs_for_generation(
        self,
        outputs: Any,
        model_kwargs: dict[str, Any],
        is_encoder_decoder: bool = False,
        num_new_tokens: int = 1,
    ) -> dict[str, Any]:
        """What is generated is text, whatever the prompt ends with."""
        kwargs = super()._update_model_kwargs_for_generation(
            outputs, model_kwargs, is_encoder_decoder, num_new_tokens
        )
        if kwargs.get("token_type_ids") is not None:
            kwargs["token_type_ids"][:, -num_new_tokens:] = TEXT
        return kwargs
