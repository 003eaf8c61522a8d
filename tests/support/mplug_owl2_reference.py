"""mPLUG-Owl2's forward pass written a second time, for tests: float64, one example, no cache, no module.

Plain functions over a state dict in the published names and a config.json as published. Written from the
description of the published implementation; it shares no code with `adamms.models`.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Config = dict[str, Any]


class Weights:
    """Tensors below a prefix, in float64."""

    def __init__(self, state: dict[str, Tensor], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def under(self, part: object) -> "Weights":
        return Weights(self.state, f"{self.prefix}{part}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name].double()

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self[f"{name}.weight"].T
        return y + self[f"{name}.bias"] if f"{self.prefix}{name}.bias" in self.state else y

    def layer_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        return x * self[f"{name}.weight"] + self[f"{name}.bias"]


def rms_norm(weight: Tensor, x: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def attention(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """One head: (n, d), (m, d), (m, d) to (n, d)."""
    scores = query @ key.T / math.sqrt(query.shape[-1])
    if causal:
        future = torch.arange(len(key))[None] > torch.arange(len(query))[:, None]
        scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(-1) @ value


def vision(w: Weights, config: Config, pixels: Tensor) -> Tensor:
    """One image (3, side, side) to (1 + patches, width)."""
    patch, eps = config["patch_size"], config["layer_norm_eps"]
    heads = config["num_attention_heads"]
    kernel = w.under("embeddings")["patch_embed.weight"]
    rows = pixels.shape[-1] // patch
    tokens = [w.under("embeddings")["cls_token"][0, 0]]
    for row in range(rows):
        for column in range(rows):
            window = pixels[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append((kernel * window.double()).sum((1, 2, 3)))
    x = torch.stack(tokens) + w.under("embeddings")["position_embedding"][0]
    x = w.under("embeddings").layer_norm("pre_layernorm", x, eps)
    for layer in range(config["num_hidden_layers"]):
        block = w.under(f"encoder.layers.{layer}")
        fused = block.linear("self_attn.query_key_value", block.layer_norm("input_layernorm", x, eps))
        size = x.shape[-1] // heads
        read = []
        for head in range(heads):  # the columns of one head lie together: its query, key and value
            of_head = fused[:, 3 * size * head : 3 * size * (head + 1)]
            read.append(attention(*of_head.split(size, dim=1), causal=False))
        x = x + block.linear("self_attn.dense", torch.cat(read, dim=1))
        h = block.linear("mlp.fc1", block.layer_norm("post_attention_layernorm", x, eps))
        x = x + block.linear("mlp.fc2", h / (1 + torch.exp(-1.702 * h)))
    return w.layer_norm("post_layernorm", x, eps)


def wave(width: int, place: int) -> Tensor:
    frequencies = [10000 ** (-2 * i / width) for i in range(width // 2)]
    sines = [math.sin(place * f) for f in frequencies]
    return torch.tensor(sines + [math.cos(place * f) for f in frequencies], dtype=torch.float64)


def abstractor(w: Weights, config: Config, tokens: Tensor) -> Tensor:
    """(1 + patches, width) to (queries + 1, width of the language model)."""
    width, heads, grid = config["hidden_size"], config["num_attention_heads"], config["grid_size"]
    size = width // heads
    x = w["query_embeds"][0]
    q_places = torch.stack([wave(width, i) for i in range(len(x))])
    k_places = [torch.zeros(width, dtype=torch.float64)]
    for row in range(grid):
        k_places += [torch.cat([wave(width // 2, column), wave(width // 2, row)]) for column in range(grid)]
    places = torch.cat([q_places, torch.stack(k_places)])
    for layer in range(config["num_hidden_layers"]):
        block = w.under(f"encoder.layers.{layer}.crossattention")
        normed = block.layer_norm("norm1", x, 1e-5)
        seen = torch.cat([normed, block.layer_norm("normk", tokens, 1e-5)])
        query = block.linear("attention.query", normed + q_places)
        key = block.linear("attention.key", seen + places)
        value = block.linear("attention.value", seen)
        heads_of = zip(query.split(size, 1), key.split(size, 1), value.split(size, 1), strict=True)
        read = torch.cat([attention(*head, causal=False) for head in heads_of], dim=1)
        out = block.under("output")
        x = normed + out.linear("out_proj", read)
        h = out.layer_norm("norm2", x, 1e-5)
        gate = out.linear("mlp.w1", h)
        gated = gate / (1 + torch.exp(-gate)) * out.linear("mlp.w3", h)
        x = x + out.linear("mlp.w2", out.layer_norm("mlp.ffn_ln", gated, config["layer_norm_eps"]))
    return torch.cat([w.linear("visual_fc", x), w["vit_eos"][0]])


def rotate(x: Tensor, place: int, base: float) -> Tensor:
    """One token's head (d,): the pair (i, i + d/2) turns by place * base^(-2i/d)."""
    half = len(x) // 2
    angles = torch.tensor([place * base ** (-2 * i / len(x)) for i in range(half)], dtype=torch.float64)
    first, second = x[:half], x[half:]
    turned = (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin())
    return torch.cat(turned)


def decoder(w: Weights, config: Config, x: Tensor, types: list[int]) -> Tensor:
    """Embeddings (n, hidden) and each token's type to the final hidden states (n, hidden)."""
    eps, heads, kv_heads = (
        config[key] for key in ("rms_norm_eps", "num_attention_heads", "num_key_value_heads")
    )
    size = config["hidden_size"] // heads
    base = config["rope_theta"]

    def by_type(apply: Callable[[int, Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.stack([apply(kind, token) for kind, token in zip(types, x, strict=True)])

    def turned(rows: Tensor) -> list[list[Tensor]]:
        return [[rotate(head, place, base) for head in row.split(size)] for place, row in enumerate(rows)]

    for layer in range(config["num_hidden_layers"]):
        block = w.under(f"layers.{layer}")

        def norm(name: str, block: Weights = block) -> Callable[[int, Tensor], Tensor]:
            return lambda kind, token: rms_norm(block[f"{name}.multiway.{kind}.weight"], token, eps)

        def project(name: str, block: Weights = block) -> Callable[[int, Tensor], Tensor]:
            return lambda kind, token: block.linear(f"self_attn.{name}.multiway.{kind}", token)

        h = by_type(norm("input_layernorm"), x)
        query = turned(block.linear("self_attn.q_proj", h))
        key = turned(by_type(project("k_proj"), h))
        value = by_type(project("v_proj"), h).split(size, dim=1)
        read = []
        for head in range(heads):
            shared = head // (heads // kv_heads)
            of_query = torch.stack([row[head] for row in query])
            of_key = torch.stack([row[shared] for row in key])
            read.append(attention(of_query, of_key, value[shared], causal=True))
        x = x + block.linear("self_attn.o_proj", torch.cat(read, dim=1))
        h = by_type(norm("post_attention_layernorm"), x)
        gate = block.linear("mlp.gate_proj", h)
        x = x + block.linear("mlp.down_proj", gate / (1 + torch.exp(-gate)) * block.linear("mlp.up_proj", h))
    return rms_norm(w["norm.weight"], x, eps)


def logits(
    state: dict[str, Tensor], config: Config, ids: list[int], types: list[int], pixels: Tensor | None = None
) -> Tensor:
    """(n, vocabulary) for one example without padding.

    Args:
        types: 1 where one of an image's embeddings stands, in the order of `pixels` (images, 3, side, side).
    """
    w = Weights(state).under("model")
    x = w["embed_tokens.weight"][torch.tensor(ids)]
    if pixels is not None:
        visual = config["visual_config"]
        images = [
            abstractor(
                w.under("visual_abstractor"),
                visual["visual_abstractor"],
                vision(w.under("vision_model"), visual["visual_model"], image),
            )
            for image in pixels
        ]
        x[torch.tensor(types) == 1] = torch.cat(images)
    return decoder(w, config, x, types) @ state["lm_head.weight"].double().T
