"""Language models' weights laid out as other formats do, and with their names hidden: made here, by hand.

Each layout is a function of a whole state dict in Llama-type names, so that what a target tensor should
get is the same function of the donor's weights.
"""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

State = dict[str, torch.Tensor]
Layout = Callable[[State], State]

HEADS, GROUPS, HEAD = 4, 2, 32  # of the demo's language models
LAYERS = 4


def language(folder: Path) -> State:
    """The decoder LM's tensors in the names of a plain Qwen2."""
    state = load_file(folder / "model.safetensors")
    names = {name: name.removeprefix("language_model.") for name in state}
    own = ("model.layers", "model.embed", "model.norm", "lm_head")
    return {short: state[name] for name, short in names.items() if short.startswith(own)}


def rest(folder: Path) -> State:
    """Everything else: vision encoder and projector."""
    state = load_file(folder / "model.safetensors")
    known = {"language_model." + name for name in language(folder)} | set(language(folder))
    return {name: tensor for name, tensor in state.items() if name not in known}


def plain(state: State) -> State:
    return dict(state)


def fused(state: State) -> State:
    """q, k and v in one tensor, one after the other; gate and up in another (Phi-3)."""
    done = dict(state)
    for i in range(LAYERS):
        attention, mlp = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
        for part in ("weight", "bias"):
            done[f"{attention}qkv_proj.{part}"] = torch.cat(
                [done.pop(f"{attention}{which}_proj.{part}") for which in "qkv"]
            )
        done[f"{mlp}gate_up_proj.weight"] = torch.cat(
            [done.pop(f"{mlp}{which}_proj.weight") for which in ("gate", "up")]
        )
    return done


def grouped(state: State) -> State:
    """InternLM2's wqkv: per key-value group its query heads, then its key, then its value."""
    done = dict(state)
    for i in range(LAYERS):
        attention = f"model.layers.{i}.self_attn."
        for part in ("weight", "bias"):
            q, k, v = (done.pop(f"{attention}{which}_proj.{part}") for which in "qkv")
            each = HEADS // GROUPS * HEAD
            pieces = []
            for group in range(GROUPS):
                pieces.append(q[group * each : (group + 1) * each])
                pieces.append(k[group * HEAD : (group + 1) * HEAD])
                pieces.append(v[group * HEAD : (group + 1) * HEAD])
            done[f"{attention}wqkv.{part}"] = torch.cat(pieces)
    return done


def experts(state: State, vary: float = 0.0) -> State:
    """Every layer's q, k, v (fused, as in CogVLM), o and MLP twice; the copies differ by this much noise."""
    done = dict(state)
    generator = torch.Generator().manual_seed(1)
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for part in ("weight", "bias"):
            qkv = torch.cat([done.pop(f"{layer}self_attn.{which}_proj.{part}") for which in "qkv"])
            _twice(done, f"{layer}self_attn.", f"query_key_value.{part}", qkv, vary, generator)
        for name in ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
            tensor = done.pop(f"{layer}{name}.weight")
            _twice(done, f"{layer}{name}.", "weight", tensor, vary, generator)
    return done


def _twice(
    state: State, prefix: str, name: str, tensor: torch.Tensor, vary: float, generator: torch.Generator
) -> None:
    for expert in ("language", "vision"):
        noise = torch.randn(tensor.shape, generator=generator) * tensor.std() * vary
        state[f"{prefix}{expert}.{name}"] = tensor + noise * (expert == "vision")


def hide(state: State, folder: Path, seed: int = 0) -> dict[str, str]:
    """Write only weights, under names that say nothing and in an order that says nothing: name -> hidden."""
    numbers = list(range(len(state)))
    random.Random(seed).shuffle(numbers)
    hidden = {name: f"t{number:05d}" for name, number in zip(state, numbers, strict=True)}
    folder.mkdir(parents=True)
    save_file(
        {hidden[name]: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors"
    )
    return hidden
