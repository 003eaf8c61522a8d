"""What the native decoders share: embeddings with images in their places, and the head that generates.

Token types are 1 at an image's positions and 0 at text. Knows no family.
"""

from typing import Any

from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from adamms.errors import AdammsError

TEXT, IMAGE = 0, 1  # token types


def embedded(table: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """The embeddings (batch, length, width) of the ids, or those that were given instead.

    Raises:
        AdammsError: neither or both were given.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise AdammsError("give exactly one of input_ids and inputs_embeds")
    return table(input_ids) if inputs_embeds is None else inputs_embeds


def with_images(hidden: Tensor, places: Tensor, images: Tensor | None) -> Tensor:
    """The embeddings with those of the images in their places, in order.

    Args:
        hidden: (batch, length, width).
        places: true at the images' positions, (batch, length).
        images: (images, embeddings of each, width); None: no images.

    Raises:
        AdammsError: the number of places is not the number of the images' embeddings.
    """
    images = hidden.new_zeros(0, 0, hidden.shape[-1]) if images is None else images
    count, each = images.shape[:2]
    if (found := int(places.sum())) != count * each:
        raise AdammsError(f"the prompts have {found} places for {count} images of {each} embeddings each")
    return hidden.masked_scatter(places[..., None], images.to(hidden.device, hidden.dtype))


class ImageTextHead(GenerationMixin):
    """Logits, loss and generation on top of a decoder `model`, with the head `lm_head`."""

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (batch, length or `logits_to_keep`, vocabulary) of the next tokens.

        Args:
            labels: (batch, length), -100 where there is no loss; None: no loss.
            logits_to_keep: how many of the last tokens get logits, or their indices; 0: all.
            options: the other arguments of the decoder, as those above.
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
            **options,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            vocabulary = self.config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocabulary, **options)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict[str, Any], *others: Any, **options: Any
    ) -> dict[str, Any]:
        """transformers repeats the last token's type; generated tokens are text."""
        types = model_kwargs.get("token_type_ids")
        updated = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *others, **options)
        if types is not None:
            updated["token_type_ids"][:, types.shape[1] :] = TEXT
        return updated
