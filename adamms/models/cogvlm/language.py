"""CogVLM's decoder layers: every matrix exists twice, for text and for image tokens; the norms are shared.

Module names are those of the published checkpoints. Source: arXiv:2311.03079, section 2.1; the
published modeling_cogvlm.py.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache

from adamms.models.cogvlm.attention import attend
from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.cogvlm.layout import Routing

ROPE_BASE = 10000.0

Expert = Callable[[torch.Tensor], torch.Tensor]
Rotation = tuple[torch.Tensor, torch.Tensor]


def by_expert(
    hidden: torch.Tensor, routing: Routing | None, vision: Expert, language: Expert
) -> torch.Tensor:
    """Each token through its expert; neither sees a token that is not its own.

    Args:
        hidden: (batch, length, width).
        routing: who goes where; None: all through `language`.

    Returns:
        (batch, length, width of the experts' outputs).
    """
    if routing is None:
        return language(hidden)
    flat = hidden.flatten(0, 1)[routing.order]
    parts = (vision(flat[: routing.vision]), language(flat[routing.vision :]))
    return torch.cat(parts)[routing.inverse].unflatten(0, hidden.shape[:2])


def rotation(positions: torch.Tensor, size: int) -> Rotation:
    """Cosine and sine of the rotary embedding, in float32 whatever the model's dtype.

    The published code makes its table in the model's dtype; in bfloat16 it is inexact from position 257 on.

    Args:
        positions: (batch, length).
        size: of a head.

    Returns:
        Two tensors (batch, 1, length, size).
    """
    exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
    angles = positions[:, None, :, None].float() * ROPE_BASE**-exponents
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rotate(states: torch.Tensor, turn: Rotation) -> torch.Tensor:
    """(batch, heads, length, size) turned by position; the halves of a head are the pairs."""
    cosine, sine = turn
    first, second = states.float().chunk(2, -1)
    turned = states.float() * cosine + torch.cat((-second, first), -1) * sine
    return turned.to(states.dtype)


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


class CogVLMMLP(nn.Module):
    """One expert's gated MLP."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.activation(self.gate_proj(hidden)) * self.up_proj(hidden))


class CogVLMExpertMLP(nn.Module):
    """The two experts' MLPs."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.language_mlp = CogVLMMLP(config)
        self.vision_mlp = CogVLMMLP(config)

    def forward(self, hidden: torch.Tensor, routing: Routing | None) -> torch.Tensor:
        return by_expert(hidden, routing, self.vision_mlp, self.language_mlp)


class CogVLMExpertAttention(nn.Module):
    """One causal attention over all tokens, with the projections of each token's expert.

    Fused rows are q, k, v of equal size.
    """

    is_causal = True

    def __init__(self, config: CogVLMConfig, layer: int) -> None:
        super().__init__()
        self.config = config
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
            part.unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)
            for part in fused.chunk(3, -1)
        )  # (batch, heads, length, head size)
        query, key = rotate(query, turn), rotate(key, turn)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        output = attend(self, self.config._attn_implementation, query, key, value, mask)
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
