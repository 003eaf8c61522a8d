"""Slots to merge: random tensors in chunks of any size, and a tiny pair of different architectures.

A method is run on random tensors as the recipe runs it, survey first, but with chunks of the test's
choice. A reference is NumPy float64, from the method's formula.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiny
import torch
from mappers import spec_mapper

from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.specs.model import Model, describe
from adamms.merge.method import Chunk, Method, Statistics
from adamms.merge.recipe import Recipe

Array = npt.NDArray[np.float64]
# (slot, model -> values with the target first, ancestor's values, model -> share) -> merged values
Reference = Callable[[str, Mapping[str, Array], Array, Mapping[str, float]], Array]

SLOT = "layer.weight"


def values(
    shape: tuple[int, ...], donors: int = 1, seed: int = 0, apart: float = 0.3
) -> tuple[dict[str, Array], Array]:
    """model -> random values, `apart` from those of the ancestor; and these."""
    generator = np.random.default_rng(seed)
    ancestor = generator.normal(size=shape)
    names = ["target", *(f"donor{i}" for i in range(donors))]
    return {name: ancestor + apart * generator.normal(size=shape) for name in names}, ancestor


def shares_of(alphas: Mapping[str, float]) -> dict[str, float]:
    return {"target": 1 - sum(alphas.values()), **alphas}


def merged(
    method: Method,
    models: Mapping[str, Array],
    ancestor: Array,
    alphas: Mapping[str, float],
    rows: int | None = None,
    slot: str = SLOT,
) -> Array:
    """What the method makes of a slot in chunks of this many rows."""
    shape = ancestor.shape
    step = rows if rows is not None and method.elementwise else shape[0]

    def chunks(given: Mapping[str, float], found: Statistics | None) -> Iterator[Chunk]:
        for at in range(0, shape[0], step):
            part = {n: torch.from_numpy(v[at : at + step].copy()) for n, v in models.items()}
            base = torch.from_numpy(ancestor[at : at + step].copy()) if method.needs_ancestor else None
            start = at * int(np.prod(shape[1:]))
            yield Chunk(slot, shape, start, part.pop("target"), part, base, given, found)

    survey, found = method.survey(), None
    while survey is not None:
        total = survey.empty()
        # From the last chunk to the first: summaries add up in any order.
        for chunk in reversed(list(chunks({}, None))):
            part = survey.empty()
            part.add(chunk)
            total += part
        step_on = survey.conclude(total)
        survey, found = (None, step_on) if isinstance(step_on, Statistics) else (step_on, None)
    return np.concatenate([method.merge(chunk).numpy().copy() for chunk in chunks(alphas, found)])


def of_vocabulary(slot: str) -> bool:
    """Whether a tensor of this name is an embedding or a head."""
    return slot.endswith(("embed_tokens.weight", "lm_head.weight"))


def assert_close(found: Array, expected: Array) -> None:
    """Within rounding of float64 in sums and decompositions: far below that of any stored dtype."""
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def ulps(found: torch.Tensor, expected: Array) -> int:
    """The most representable numbers between `found` and `expected` converted to its dtype."""
    wanted = torch.from_numpy(np.ascontiguousarray(expected)).to(found.dtype)
    whole = torch.int32 if found.dtype == torch.float32 else torch.int16

    def ordered(tensor: torch.Tensor) -> torch.Tensor:
        bits = tensor.contiguous().view(whole).to(torch.int64)
        return torch.where(bits < 0, -(bits & torch.iinfo(whole).max), bits)

    return int((ordered(found) - ordered(wanted)).abs().max())


@dataclass(frozen=True)
class Pair:
    """A bfloat16 CogVLM (fused q, k, v; two experts) and float16 and float32 Llamas of one float32 ancestor.

    `slots` holds, for each tensor that is merged, model -> values in the target's shape, and the ancestor's.
    """

    target: Path
    donors: Mapping[str, Path]
    ancestor: Path
    slots: Mapping[str, tuple[dict[str, Array], Array]]

    def recipe(self, method: Method, alphas: Mapping[str, float]) -> Recipe:
        target, ancestor = _open(self.target), _open(self.ancestor)
        donors = {name: _open(self.donors[name]) for name in alphas}
        plan = spec_mapper().plan(target, donors, ancestor)
        checkpoints = {name: donor.checkpoint for name, donor in donors.items()}
        return Recipe(target.checkpoint, checkpoints, plan, method, alphas, ancestor.checkpoint)

    def check(self, method: Method, reference: Reference, alphas: Mapping[str, float]) -> None:
        """Every merged tensor is the reference's, within one unit in the last place; the rest is kept."""
        recipe = self.recipe(method, alphas)
        merged_names = {slot.name for slot in recipe.plan.slots if slot.merged}
        assert merged_names == set(self.slots)
        for name, tensor in recipe.tensors(workers=2):
            if name not in self.slots:
                tiny.assert_same_bits(tensor, open_checkpoint(self.target).read(name))
                continue
            models, ancestor = self.slots[name]
            used = {model: models[model] for model in ("target", *alphas)}
            assert ulps(tensor, reference(name, used, ancestor, shares_of(alphas))) <= 1, name


def make_pair(folder: Path) -> Pair:
    ancestor = tiny.llama_state(1)

    def moved(state: tiny.State, seed: int, dtype: torch.dtype) -> tiny.State:
        noise = torch.Generator().manual_seed(seed)
        return {n: (t + 0.2 * torch.randn(t.shape, generator=noise)).to(dtype) for n, t in state.items()}

    target = moved(tiny.cogvlm_state(1), 2, torch.bfloat16)
    donors = {"a": moved(ancestor, 3, torch.float16), "b": moved(ancestor, 4, torch.float32)}
    slots = {}
    for name, tensor in target.items():
        mapped = {model: _in_cogvlm(name, state) for model, state in {**donors, "": ancestor}.items()}
        if mapped[""] is not None:
            base = mapped.pop("")
            slots[name] = ({"target": tensor.double().numpy(), **mapped}, base)
    return Pair(
        tiny.write_model(folder / "target", target, "CogVLMForCausalLM"),
        {name: tiny.write_model(folder / name, state) for name, state in donors.items()},
        tiny.write_model(folder / "ancestor", ancestor),
        slots,
    )


def _in_cogvlm(name: str, llama: tiny.State) -> Array | None:
    """What a Llama has for a tensor of CogVLM, which duplicates its layers for images; None for nothing."""
    if "query_key_value" in name:
        layer = name.split("self_attn")[0]
        parts = [llama[f"{layer}self_attn.{p}_proj.weight"] for p in "qkv"]
        return torch.cat(parts).double().numpy()
    plain = name.replace("language_expert_dense", "o_proj").replace("vision_expert_dense", "o_proj")
    plain = plain.replace("language_mlp.", "").replace("vision_mlp.", "")
    return llama[plain].double().numpy() if plain in llama else None


def _open(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    return describe(checkpoint, recognise(json.loads((folder / "config.json").read_text()), folder))
