"""Attention of queries, keys and values through transformers' interface: sdpa, or eager as written here."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def attend(
    module: nn.Module,
    implementation: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Softmax attention, scaled by 1 / sqrt(head size).

    Args:
        module: who asks; its `is_causal` holds where there is no mask.
        implementation: transformers' name of it.
        query, key, value: (batch, heads, length, head size).
        mask: as transformers makes it for the implementation; None for none but causality.

    Returns:
        (batch, length, heads * head size).
    """
    interface: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, _eager)
    output, _ = interface(module, query, key, value, mask, dropout=0.0, scaling=query.shape[-1] ** -0.5)
    return output.flatten(2)


def _eager(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2), weights
