"""mPLUG-Owl2's language model layers: Llama's, with keys, values and norms of their own for image tokens.

Source: arXiv:2311.04257, the modality-adaptive module; X-PLUG/mPLUG-Owl,
mPLUG-Owl2/mplug_owl2/model/{multiway,modeling_llama2}.py. Does not know where images come from.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, apply_rotary_pos_emb

from adamms.models.attention import Attention, split_heads
from adamms.models.causal import IMAGE, TEXT
from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config


class Modalities(NamedTuple):
    """Which tokens of a batch are text and which are image, as indices into (batch * sequence).

    A tuple, because libraries that spread layers over devices move tensors in tuples only.
    """

    text: Tensor
    image: Tensor

    @classmethod
    def of(cls, token_type_ids: Tensor) -> "Modalities":
        """From 0 (text) and 1 (image) per token, shape (batch, sequence)."""
        flat = token_type_ids.flatten()
        return cls(text=(flat == TEXT).nonzero().squeeze(1), image=(flat == IMAGE).nonzero().squeeze(1))


class Multiway(nn.Module):
    """Two copies of a module: the first is for text tokens, the second for image tokens."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([make(), make()])

    def forward(self, hidden: Tensor, modalities: Modalities | None) -> Tensor:
        """(batch, sequence, in) to (batch, sequence, out); without `modalities` every token is text."""
        for_text, for_image = self.multiway
        if modalities is None:
            return for_text(hidden)
        flat = hidden.flatten(0, 1)
        text, image = for_text(flat[modalities.text]), for_image(flat[modalities.image])
        merged = text.new_empty(len(flat), text.shape[-1])
        merged = merged.index_copy(0, modalities.text, text).index_copy(0, modalities.image, image)
        return merged.unflatten(0, hidden.shape[:2])


class MPLUGOwl2Attention(Attention):
    """Llama's attention with a key and a value projection per modality; queries and output are shared."""

    is_causal = True

    def __init__(self, config: MPLUGOwl2Config, layer: int) -> None:
        super().__init__(config)
        self.layer = layer
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        width, bias = config.hidden_size, config.attention_bias
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(width, queries, bias=bias)
        self.k_proj = Multiway(lambda: nn.Linear(width, keys, bias=bias))
        self.v_proj = Multiway(lambda: nn.Linear(width, keys, bias=bias))
        self.o_proj = nn.Linear(queries, width, bias=bias)

    def forward(
        self,
        hidden: Tensor,
        modalities: Modalities | None,
        rotation: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, sequence, width) to the same, and the weights where the implementation has them.

        `options` are those of transformers' attention functions.
        """
        query = split_heads(self.q_proj(hidden), self.head_dim)
        key = split_heads(self.k_proj(hidden, modalities), self.head_dim)
        value = split_heads(self.v_proj(hidden, modalities), self.head_dim)
        query, key = apply_rotary_pos_emb(query, key, *rotation)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer)
        dropout = self.config.attention_dropout
        out, weights = self.attend(query, key, value, attention_mask, dropout, **options)
        return self.o_proj(out), weights


class MPLUGOwl2DecoderLayer(GradientCheckpointingLayer):
    """Llama's decoder layer with both norms per modality."""

    def __init__(self, config: MPLUGOwl2Config, layer: int) -> None:
        super().__init__()
        norm = partial(LlamaRMSNorm, config.hidden_size, eps=config.rms_norm_eps)
        self.input_layernorm = Multiway(norm)
        self.self_attn = MPLUGOwl2Attention(config, layer)
        self.post_attention_layernorm = Multiway(norm)
        self.mlp = LlamaMLP(config)

    def forward(
        self,
        hidden: Tensor,
        modalities: Modalities | None,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None,
        **options: Any,
    ) -> Tensor:
        """Called by Llama's forward, which hands `modalities` on."""
        normed = self.input_layernorm(hidden, modalities)
        read, _ = self.self_attn(
            normed, modalities, position_embeddings, attention_mask, past_key_values, **options
        )
        hidden = hidden + read
        return hidden + self.mlp(self.post_attention_layernorm(hidden, modalities))
