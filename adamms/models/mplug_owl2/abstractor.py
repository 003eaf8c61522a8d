"""mPLUG-Owl2's visual abstractor: learned queries that read an image into a few embeddings.

Source: X-PLUG/mPLUG-Owl, mPLUG-Owl2/mplug_owl2/model/visual_encoder.py. Knows only the width of the
language model.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from adamms.models.attention import Attention, split_heads
from adamms.models.mplug_owl2.configuration import MPLUGOwl2AbstractorConfig
from adamms.models.mplug_owl2.vision import ImageModel


class VisualAbstractor(ImageModel):
    """Image tokens (images, 1 + grid * grid, width) to (images, queries + 1, width of the language model).

    The last embedding of every image is the learned `vit_eos`.
    """

    config: MPLUGOwl2AbstractorConfig
    main_input_name = "tokens"

    def __init__(self, config: MPLUGOwl2AbstractorConfig, language_width: int) -> None:
        super().__init__(config)
        self.query_embeds = nn.Parameter(torch.empty(1, config.num_learnable_queries, config.hidden_size))
        self.encoder = AbstractorEncoder(config)
        self.visual_fc = nn.Linear(config.hidden_size, language_width)
        self.vit_eos = nn.Parameter(torch.empty(1, 1, language_width))
        self.post_init()

    def forward(self, tokens: Tensor) -> Tensor:
        queries = self.query_embeds.expand(len(tokens), -1, -1)
        read = self.visual_fc(self.encoder(queries, tokens))
        return torch.cat([read, self.vit_eos.expand(len(tokens), -1, -1)], dim=1)


class AbstractorEncoder(nn.Module):
    def __init__(self, config: MPLUGOwl2AbstractorConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            nn.ModuleDict({"crossattention": AbstractorBlock(config)})
            for _ in range(config.num_hidden_layers)
        )

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        width = self.config.hidden_size
        of_queries = positions_1d(width, torch.arange(queries.shape[1], device=queries.device))
        of_tokens = positions_2d(width, self.config.grid_size, queries.device)
        of_keys = torch.cat([of_queries, of_tokens]).to(queries.dtype)  # (queries + 1 + grid * grid, width)
        for layer in self.layers:
            queries = layer.get_submodule("crossattention")(queries, tokens, of_keys)
        return queries


class AbstractorBlock(nn.Module):
    """The queries read themselves and the image. The result is added to the *normed* queries."""

    def __init__(self, config: MPLUGOwl2AbstractorConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size)
        self.normk = nn.LayerNorm(config.hidden_size)
        self.attention = AbstractorAttention(config)
        self.output = AbstractorOutput(config)

    def forward(self, queries: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        queries = self.norm1(queries)
        read = self.attention(queries, torch.cat([queries, self.normk(tokens)], dim=1), positions)
        return self.output(read, queries)


class AbstractorAttention(Attention):
    """Attention of the queries to all tokens; positions enter queries and keys, not values."""

    def __init__(self, config: MPLUGOwl2AbstractorConfig) -> None:
        super().__init__(config)
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, queries: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        size = self.config.hidden_size // self.config.num_attention_heads
        query = split_heads(self.query(queries + positions[: queries.shape[1]]), size)
        key = split_heads(self.key(tokens + positions), size)
        value = split_heads(self.value(tokens), size)
        return self.attend(query, key, value, dropout=self.config.attention_probs_dropout_prob)[0]


class AbstractorOutput(nn.Module):
    def __init__(self, config: MPLUGOwl2AbstractorConfig) -> None:
        super().__init__()
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size)
        self.mlp = AbstractorMLP(config)

    def forward(self, read: Tensor, queries: Tensor) -> Tensor:
        hidden = queries + self.out_proj(read)
        return hidden + self.mlp(self.norm2(hidden))


class AbstractorMLP(nn.Module):
    """A gated MLP with a norm before its last layer."""

    def __init__(self, config: MPLUGOwl2AbstractorConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_ln = nn.LayerNorm(config.intermediate_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.w2(self.ffn_ln(functional.silu(self.w1(hidden)) * self.w3(hidden)))


def positions_1d(width: int, places: Tensor) -> Tensor:
    """Fixed encodings (places, width), float32: the sines of all frequencies, then their cosines."""
    exponents = torch.arange(width // 2, dtype=torch.float32, device=places.device) / (width / 2)
    angles = places.float()[:, None] / 10000**exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def positions_2d(width: int, grid: int, device: torch.device) -> Tensor:
    """Fixed encodings (1 + grid * grid, width): zeros for the class token, then the patches row by row.

    The first half of the width encodes a patch's column, the second its row.
    """
    patches = torch.arange(grid * grid, device=device)
    halves = [positions_1d(width // 2, patches % grid), positions_1d(width // 2, patches // grid)]
    encoded = torch.cat(halves, dim=1)
    return torch.cat([encoded.new_zeros(1, width), encoded])
