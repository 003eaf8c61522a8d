"""CogVLM's decoder layers: every matrix is there twice, for text and for image tokens; norms are shared.

Module names are those of the published checkpoints. Source: arXiv:2311.03079, section 2.1; the
published modeling_cogvlm.py.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.models.llama.modeling_llama import LlamaMLP, apply_rotary_pos_emb

from adamms.models.attention import Attention, split_heads
from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.cogvlm.layout import Routing

ROPE_BASE = 10000.0

Expert = Callable[[torch.Tensor], torch.Tensor]
Rotation = tuple[torch.Tensor, torch.Tensor]


def by_expert(
    hidden: torch.Tensor, routing: Routing | None, vision: Expert, language: Expert
) -> torch.Tensor:
    """Each token through its own expert.

    Args:
        hidden: (batch, length, width).
        routing: which tokens go where; None: all through `language`.

    Returns:
        (batch, length, width of the experts' outputs).
    """
    if routing is None:
        return language(hidden)
    flat = hidden.flatten(0, 1)[routing.order]
    parts = (vision(flat[: routing.vision]), language(flat[routing.vision :]))
    return torch.cat(parts)[routing.inverse].unflatten(0, hidden.shape[:2])


def rotation(positions: torch.Tensor, size: int) -> Rotation:
    """Cosine and sine of the rotary embedding, in float32 for every dtype of the model.

    The published code uses the model's dtype, which in bfloat16 is inexact from position 257 on.

    Args:
        positions: (batch, length).
        size: of a head.

    Returns:
        Two tensors (batch, length, size).
    """
    exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
    angles = positions[..., None].float() * ROPE_BASE**-exponents
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


class CogVLMRMSNorm(nn.Module):
    """Root mean square norm; the weight is applied in float32, before the cast back."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        wide = hidden.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight * wide).to(hidden.dtype)


class CogVLMExpertMLP(nn.Module):
    """The two experts' MLPs."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.language_mlp = LlamaMLP(config)
        self.vision_mlp = LlamaMLP(config)

    def forward(self, hidden: torch.Tensor, routing: Routing | None) -> torch.Tensor:
        return by_expert(hidden, routing, self.vision_mlp, self.language_mlp)


class CogVLMExpertAttention(Attention):
    """One causal attention over all tokens, with the projections of each token's expert.

    The rows of a fused projection are q, k, v of equal size.
    """

    is_causal = True

    def __init__(self, config: CogVLMConfig, layer: int) -> None:
        super().__init__(config)
        self.layer_idx = layer
        width = config.hidden_size
        self.vision_expert_query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.vision_expert_dense = nn.Linear(width, width, bias=False)
        self.language_expert_query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.language_expert_dense = nn.Linear(width, width, bias=False)

    def forward(
        self,
        hidden: torch.Tensor,
        routing: Routing | None,
        turn: Rotation,
        mask: torch.Tensor | None,
        cache: Cache | None,
    ) -> torch.Tensor:
        fused = by_expert(
            hidden, routing, self.vision_expert_query_key_value, self.language_expert_query_key_value
        )
        query, key, value = (
            split_heads(part, self.config.head_dim) for part in fused.chunk(3, -1)
        )  # (batch, heads, length, head size)
        turned = apply_rotary_pos_emb(query, key, *turn)  # in the rotation's float32
        query, key = (states.to(value.dtype) for states in turned)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        output, _ = self.attend(query, key, value, mask)
        return by_expert(output, routing, self.vision_expert_dense, self.language_expert_dense)


class CogVLMDecoderLayer(nn.Module):
    def __init__(self, config: CogVLMConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = CogVLMExpertAttention(config, layer)
        self.mlp = CogVLMExpertMLP(config)
        self.input_layernorm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden: torch.Tensor,
        routing: Routing | None,
        turn: Rotation,
        mask: torch.Tensor | None,
        cache: Cache | None,
    ) -> torch.Tensor:
        """(batch, length, hidden size) -> the same."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), routing, turn, mask, cache)
        return hidden + self.mlp(self.post_attention_layernorm(hidden), routing)
