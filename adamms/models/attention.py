"""Parts of the native families' encoders: attention through transformers' interface, stacked layers."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward


class Attention(nn.Module):
    """An attention layer; its projections are the family's.

    Attributes:
        config: names the implementation (sdpa, eager, ...).
        is_causal: whether a token sees only those before it, where there is no mask.
        num_key_value_groups: query heads that share a key/value head.
    """

    is_causal = False
    num_key_value_groups = 1

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention scaled by 1 / sqrt(head size).

        Args:
            query: (batch, heads, length, head size).
            key, value: (batch, key/value heads, cached + length, head size).
            mask: as transformers makes it for the implementation.
            dropout: applied in training only.
            options: further arguments of transformers' attention functions.

        Returns:
            (batch, length, heads * head size), and the weights if the implementation returns them.
        """
        function = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        dropout = dropout if self.training else 0.0
        scaling = query.shape[-1] ** -0.5
        output, weights = function(self, query, key, value, mask, dropout=dropout, scaling=scaling, **options)
        return output.flatten(2), weights


def split_heads(hidden: Tensor, size: int) -> Tensor:
    """(batch, length, heads * size) -> (batch, heads, length, size)."""
    return hidden.unflatten(-1, (-1, size)).transpose(1, 2)


class Stack(nn.Module):
    """Layers one after another, each with the same further inputs."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, hidden: Tensor, *inputs: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden, *inputs)
        return hidden
