"""Hostile numbers in the weights: NaN, infinities, subnormals, the largest. They are merged or refused."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tiny
import torch
from configured import configured
from fault import Fault, Wrong
from tiny_merges import make

from adamms.merge.catalogue import known_methods
from adamms.merge.device import Computed
from adamms.merge.sources import MAPPED_FILES

SHARE = 8
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
VALUES = ("nan", "inf", "-inf", "0", "-0", "smallest", "-smallest", "largest", "-largest")
MODELS = ("target", "a", "ancestor")


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    names = [method.name for method in known_methods()]
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        name = names[number % len(names)]
        yield Fault(f"merge={name}", lambda folder, rng=rng, name=name: trial(folder, name, rng))


def trial(folder: Path, name: str, rng: random.Random) -> None:
    """Merge three models with hostile values; look at every element, and at what is told of the inputs."""
    dtype = rng.choice(DTYPES)
    states = [tiny.llama_state(rng.randrange(1000), dtype=dtype) for _ in MODELS]
    planted = Counter[tuple[str, str]]()
    for model, state in zip(MODELS, states, strict=True):
        for _ in range(rng.randrange(4)):
            key = rng.choice(sorted(state))
            value = hostile(rng.choice(VALUES), dtype)
            flat = state[key].view(-1)
            flat[slice(None) if rng.random() < 0.1 else rng.randrange(flat.numel())] = value
        for key, values in state.items():
            if count := int((~values.isfinite()).sum()):
                planted[model, key] = count
    folders = [tiny.write_model(folder / str(i), state) for i, state in enumerate(states)]
    method = configured(f"merge/{name}")
    recipe = make(method, folders[0], {"a": folders[1]}, folders[2] if method.needs_ancestor else None)
    computed = Computed(recipe, MAPPED_FILES)
    for key in states[0]:
        merged = torch.empty_like(states[0][key])
        for start, piece in computed.pieces(key):  # each may overwrite the one before
            merged.view(-1)[start : start + piece.numel()] = piece
        clean = states[0][key].isfinite() & states[1][key].isfinite()
        if method.needs_ancestor:
            clean &= states[2][key].isfinite()
        if not merged[clean].isfinite().all():
            raise Wrong(f"{key}: not finite where the inputs are")
        if name == "linear":
            exact = (0.5 * states[0][key].double() + 0.5 * states[1][key].double()).to(dtype)
            if not torch.equal(merged[clean], exact[clean]):
                raise Wrong(f"{key}: another value than the formula's")
    told = computed.inputs.counts
    expected = {place: n for place, n in planted.items() if method.needs_ancestor or place[0] != "ancestor"}
    if told != expected:
        raise Wrong(f"told of {told}, planted {expected}")


def hostile(name: str, dtype: torch.dtype) -> float:
    limits = torch.finfo(dtype)
    sign = -1.0 if name.startswith("-") else 1.0
    named = {"smallest": limits.smallest_normal * limits.eps, "largest": limits.max}
    number = name.removeprefix("-")
    return sign * named.get(number, float(number) if number not in named else 0.0)
