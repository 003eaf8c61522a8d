"""Tiny checkpoints in formats that only remote code reads: published names around a known language model.

InternLM2, InternVL's own format, MiniCPM-V and Phi-3-vision are not in transformers. Each checkpoint holds
the weights of a language model that transformers knows: a test can take it out again, run it and compare.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from family_models import HEAD_DIM, HEADS, HIDDEN, KEY_VALUE_HEADS, LAYERS, TEXT
from tiny import State

WIDTH, FEED_FORWARD = 64, 48  # of the vision encoders, one layer each
QUERIES = 4  # of MiniCPM-V's resampler

_INTERNLM2_NAMES = {
    "model.embed_tokens": "model.tok_embeddings",
    "lm_head": "output",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias")}


def patches(name: str, patch: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH, 3, patch, patch), f"{name}.bias": (WIDTH,)}


_BLOCK = "vision_model.encoder.layers.0"
_INTERNVL = {
    "vision_model.embeddings.class_embedding": (1, 1, WIDTH),
    "vision_model.embeddings.position_embedding": (1, 5, WIDTH),
    **patches("vision_model.embeddings.patch_embedding", 16),
    **linear(f"{_BLOCK}.attn.qkv", 3 * WIDTH, WIDTH),
    **linear(f"{_BLOCK}.attn.proj", WIDTH, WIDTH),
    **linear(f"{_BLOCK}.mlp.fc1", FEED_FORWARD, WIDTH),
    **linear(f"{_BLOCK}.mlp.fc2", WIDTH, FEED_FORWARD),
    **norm(f"{_BLOCK}.norm1", WIDTH),
    **norm(f"{_BLOCK}.norm2", WIDTH),
    f"{_BLOCK}.ls1": (WIDTH,),
    f"{_BLOCK}.ls2": (WIDTH,),
    **norm("mlp1.0", 4 * WIDTH),
    **linear("mlp1.1", HIDDEN, 4 * WIDTH),
    **linear("mlp1.3", HIDDEN, HIDDEN),
}


def clip_block(name: str, width: int = WIDTH, inner: int = FEED_FORWARD) -> dict[str, tuple[int, ...]]:
    """A layer of SigLIP or CLIP."""
    shapes = {}
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= linear(f"{name}.self_attn.{part}", width, width)
    shapes |= norm(f"{name}.layer_norm1", width) | norm(f"{name}.layer_norm2", width)
    return shapes | linear(f"{name}.mlp.fc1", inner, width) | linear(f"{name}.mlp.fc2", width, inner)


_MINICPM_V = {
    **patches("vpm.embeddings.patch_embedding", 14),
    "vpm.embeddings.position_embedding.weight": (25, WIDTH),
    **clip_block("vpm.encoder.layers.0"),
    **norm("vpm.post_layernorm", WIDTH),
    "resampler.query": (QUERIES, HIDDEN),
    "resampler.proj": (HIDDEN, HIDDEN),
    "resampler.kv_proj.weight": (HIDDEN, WIDTH),
    "resampler.attn.in_proj_weight": (3 * HIDDEN, HIDDEN),
    "resampler.attn.in_proj_bias": (3 * HIDDEN,),
    **linear("resampler.attn.out_proj", HIDDEN, HIDDEN),
    **norm("resampler.ln_q", HIDDEN),
    **norm("resampler.ln_kv", HIDDEN),
    **norm("resampler.ln_post", HIDDEN),
}


def phi3_v_vision(width: int, inner: int, patch: int, positions: int) -> dict[str, tuple[int, ...]]:
    """Phi-3-vision's CLIP of one layer with its projector."""
    module = "model.vision_embed_tokens"
    tower = f"{module}.img_processor.vision_model"
    return {
        f"{tower}.embeddings.class_embedding": (width,),
        f"{tower}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        f"{tower}.embeddings.position_embedding.weight": (positions, width),
        **norm(f"{tower}.pre_layrnorm", width),
        **clip_block(f"{tower}.encoder.layers.0", width, inner),
        **norm(f"{tower}.post_layernorm", width),
        **linear(f"{module}.img_projection.0", HIDDEN, 4 * width),
        **linear(f"{module}.img_projection.2", HIDDEN, HIDDEN),
        f"{module}.glb_GN": (1, 1, 4 * width),
        f"{module}.sub_GN": (1, 1, 1, 4 * width),
    }


@dataclass(frozen=True)
class RemoteFormat:
    """One format of remote code.

    Args:
        config: its config.json.
        vision: names and shapes of what is not of the language model.
        wrap: a language model's weights -> the same in the format's names and layout.
        unwrap: the way back.
    """

    config: Mapping[str, Any]
    vision: Mapping[str, tuple[int, ...]]
    wrap: Callable[[State], State]
    unwrap: Callable[[State], State]

    def renamed(self, language: State) -> State:
        vision = {name: torch.randn(shape) for name, shape in self.vision.items()}
        return vision | self.wrap(language)

    def restored(self, state: State) -> State:
        return self.unwrap({name: tensor for name, tensor in state.items() if name not in self.vision})


def grouped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """InternLM2's wqkv: for each key head the query heads that share it, its key, its value."""
    heads = [part.reshape(KEY_VALUE_HEADS, -1, HEAD_DIM, part.shape[-1]) for part in (q, k, v)]
    return torch.cat(heads, 1).reshape(-1, q.shape[-1])


def ungrouped(wqkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k, v of wqkv, split as InternLM2's published forward splits its output."""
    group = wqkv.reshape(KEY_VALUE_HEADS, HEADS // KEY_VALUE_HEADS + 2, HEAD_DIM, -1)
    parts = (group[:, :-2], group[:, -2], group[:, -1])
    return tuple(part.reshape(-1, wqkv.shape[-1]) for part in parts)


def _to_internlm2(language: State) -> State:
    state = {}
    for i in range(LAYERS):
        attention = f"model.layers.{i}.self_attn."
        parts = [language[f"{attention}{p}_proj.weight"] for p in "qkv"]
        state[f"model.layers.{i}.attention.wqkv.weight"] = grouped(*parts)
    fused = tuple(f"{p}_proj.weight" for p in "qkv")
    rest = {name: tensor for name, tensor in language.items() if not name.endswith(fused)}
    return state | renamed(rest, _INTERNLM2_NAMES)


def _from_internlm2(state: State) -> State:
    fused = {name: tensor for name, tensor in state.items() if "wqkv" in name}
    rest = {name: tensor for name, tensor in state.items() if name not in fused}
    language = renamed(rest, {own: plain for plain, own in _INTERNLM2_NAMES.items()})
    for name, wqkv in fused.items():
        layer = name.removesuffix("attention.wqkv.weight")
        for p, part in zip("qkv", ungrouped(wqkv), strict=True):
            language[f"{layer}self_attn.{p}_proj.weight"] = part
    return language


def renamed(state: State, names: Mapping[str, str]) -> State:
    def rename(name: str) -> str:
        for old, new in names.items():
            if old in name:
                return name.replace(old, new)
        return name

    return {rename(name): tensor for name, tensor in state.items()}


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def without(prefix: str, state: State) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def plain(state: State) -> State:
    return dict(state)


_INTERNLM2_CONFIG = {
    "architectures": ["InternLM2ForCausalLM"],
    "model_type": "internlm2",
    "bias": False,
    **TEXT,
}
_QWEN2_CONFIG = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **TEXT}
_INTERNVL_CONFIG = {"architectures": ["InternVLChatModel"], "model_type": "internvl_chat"}

internlm2 = RemoteFormat(_INTERNLM2_CONFIG, {}, _to_internlm2, _from_internlm2)
internvl_internlm2 = RemoteFormat(
    _INTERNVL_CONFIG | {"llm_config": _INTERNLM2_CONFIG},
    _INTERNVL,
    lambda language: under("language_model.", _to_internlm2(language)),
    lambda state: _from_internlm2(without("language_model.", state)),
)
internvl_qwen2 = RemoteFormat(
    _INTERNVL_CONFIG | {"llm_config": _QWEN2_CONFIG},
    _INTERNVL,
    lambda language: under("language_model.", language),
    lambda state: without("language_model.", state),
)
minicpm_v = RemoteFormat(
    {"architectures": ["MiniCPMV"], "model_type": "minicpmv", **TEXT},
    _MINICPM_V,
    lambda language: under("llm.", language),
    lambda state: without("llm.", state),
)
minicpm_v_4_5 = replace(minicpm_v, config=minicpm_v.config | {"version": 4.5, "head_dim": HEAD_DIM})
phi3_v = RemoteFormat(
    {"architectures": ["Phi3VForCausalLM"], "model_type": "phi3_v", **TEXT},
    phi3_v_vision(WIDTH, FEED_FORWARD, patch=16, positions=5),
    plain,
    plain,
)
