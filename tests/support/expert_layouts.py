"""A tiny Qwen3-MoE in every layout in which experts occur, without transformers: the same values in all."""

import json
import re
from pathlib import Path

import tiny
import torch
from tiny import State

HIDDEN, WIDTH, EXPERTS, LAYERS = 8, 6, 4, 2
EXPERT = re.compile(r"(.+\.mlp\.experts)\.(\d+)\.(\w+)_proj\.weight")
CONFIG = {
    "model_type": "qwen3_moe",
    "hidden_size": HIDDEN,
    "moe_intermediate_size": WIDTH,
    "num_experts": EXPERTS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "hidden_act": "silu",
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "vocab_size": 7,
}
LAYOUTS = ("per_expert", "fused", "transposed")


def state(
    seed: int,
    *,
    hidden: int = HIDDEN,
    width: int = WIDTH,
    experts: int = EXPERTS,
    layers: int = LAYERS,
    ancestor: int = 1000,
    dtype: torch.dtype = torch.bfloat16,
) -> State:
    """Per expert, as the hub has Qwen3-MoE; models of one ancestor resemble each other."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (7, hidden)}
    shapes |= {"lm_head.weight": (7, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        name = f"model.layers.{layer}"
        attention = {"q": (8, hidden), "k": (4, hidden), "v": (4, hidden), "o": (hidden, 8)}
        shapes |= {f"{name}.self_attn.{part}_proj.weight": shape for part, shape in attention.items()}
        shapes |= {f"{name}.self_attn.{part}_norm.weight": (4,) for part in "qk"}
        shapes |= {f"{name}.{part}_layernorm.weight": (hidden,) for part in ("input", "post_attention")}
        shapes[f"{name}.mlp.gate.weight"] = (experts, hidden)
        for expert in range(experts):
            one = f"{name}.mlp.experts.{expert}"
            shapes |= {f"{one}.{part}_proj.weight": (width, hidden) for part in ("gate", "up")}
            shapes[f"{one}.down_proj.weight"] = (hidden, width)
    own, base = (torch.Generator().manual_seed(number) for number in (seed, ancestor))

    def values(shape: tuple[int, ...]) -> torch.Tensor:
        common, noise = torch.randn(shape, generator=base), torch.randn(shape, generator=own)
        return (common + 0.2 * noise).to(dtype)

    return {name: values(shape) for name, shape in shapes.items()}


def laid_out(given: State, layout: str) -> State:
    """The values of a state per expert in another layout."""
    if layout == "per_expert":
        return given
    stacks: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    found: State = {}
    for name, tensor in given.items():
        match = EXPERT.fullmatch(name)
        if match is None:
            found[name] = tensor
        else:
            stacks.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = tensor
    for name, experts in stacks.items():
        one = [experts[index] for index in sorted(experts)]
        both = torch.stack([torch.cat([each["gate"], each["up"]]) for each in one])
        down = torch.stack([each["down"] for each in one])
        turned = layout == "transposed"
        found[f"{name}.gate_up_proj"] = (both.mT if turned else both).contiguous()
        found[f"{name}.down_proj"] = (down.mT if turned else down).contiguous()
    return found


def write(folder: Path, given: State, layout: str = "per_expert", **settings: object) -> Path:
    """A model's folder in this layout."""
    tiny.write_state(laid_out(given, layout), folder)
    config = {"architectures": ["Qwen3MoeForCausalLM"], **CONFIG, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
