"""CogVLM's image side: the EVA2-CLIP-E encoder and the adapter into the language model's space.

Module names are those of the published checkpoints. Source: arXiv:2311.03079, section 2.1; the
published visual.py.
"""

import torch
from torch import nn
from transformers.models.clip.modeling_clip import CLIPMLP

from adamms.models.attention import Attention, Stack, split_heads
from adamms.models.cogvlm.configuration import CogVLMConfig


class CogVLMPatchEmbedding(nn.Module):
    """Pixels -> class token and patches with learned positions."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        vision = config.vision_config
        self.proj = nn.Conv2d(vision.in_channels, vision.hidden_size, vision.patch_size, vision.patch_size)
        self.cls_embedding = nn.Parameter(torch.zeros(1, vision.hidden_size))
        self.position_embedding = nn.Embedding(vision.num_positions, vision.hidden_size)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(images, channels, size, size) -> (images, 1 + patches, width)."""
        patches = self.proj(pixels).flatten(2).transpose(1, 2)
        first = self.cls_embedding.expand(len(patches), 1, -1)
        return torch.cat((first, patches), 1) + self.position_embedding.weight


class CogVLMVisionAttention(Attention):
    """Self-attention without a mask; the fused rows are [q, k, v][head][head size]."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        width = config.vision_config.hidden_size
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        vision = self.config.vision_config
        size = vision.hidden_size // vision.num_heads
        query, key, value = (split_heads(part, size) for part in self.query_key_value(hidden).chunk(3, -1))
        return self.dense(self.attend(query, key, value)[0])


class CogVLMVisionLayer(nn.Module):
    """A block that norms the output of each sublayer before adding it."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        width, eps = config.vision_config.hidden_size, config.vision_config.layer_norm_eps
        self.input_layernorm = nn.LayerNorm(width, eps=eps)
        self.attention = CogVLMVisionAttention(config)
        self.mlp = CLIPMLP(config.vision_config)
        self.post_attention_layernorm = nn.LayerNorm(width, eps=eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.input_layernorm(self.attention(hidden))
        return hidden + self.post_attention_layernorm(self.mlp(hidden))


class CogVLMAdapter(nn.Module):
    """A projection, a norm and a gated MLP, from the encoder's width to the language model's."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.linear_proj = nn.Linear(config.vision_config.hidden_size, width, bias=False)
        self.norm1 = nn.LayerNorm(width)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.dense_h_to_4h = nn.Linear(width, inner, bias=False)
        self.dense_4h_to_h = nn.Linear(inner, width, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.gelu(self.norm1(self.linear_proj(features)))
        return self.dense_4h_to_h(nn.functional.silu(self.gate_proj(hidden)) * self.dense_h_to_4h(hidden))


class CogVLMVision(nn.Module):
    """Pixels -> embeddings for the language model: begin marker, patches, end marker."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.patch_embedding = CogVLMPatchEmbedding(config)
        layers = config.vision_config.num_hidden_layers
        self.transformer = Stack(CogVLMVisionLayer(config) for _ in range(layers))
        self.linear_proj = CogVLMAdapter(config)
        self.boi = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.eoi = nn.Parameter(torch.zeros(1, 1, config.hidden_size))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(images, channels, size, size) -> (images, patches + 2, hidden size)."""
        features = self.transformer(self.patch_embedding(pixels))[:, 1:]  # without the class token
        begin, end = (marker.expand(len(features), -1, -1) for marker in (self.boi, self.eoi))
        return torch.cat((begin, self.linear_proj(features), end), 1)
