"""Merges of tiny checkpoints for the tests: recipes, and their operands found without a plan."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiny
import torch
from mappers import spec_mapper

from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.side_files import copy_side_files
from adamms.checkpoint.writer import whole_folder, write_tensors
from adamms.mapping.specs.model import Model, describe
from adamms.mapping.specs.resolve import SpecMapper
from adamms.merge.method import Method
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.rows_to_merge import actionable
from adamms.merge.surveys.survey import Advance

Array = npt.NDArray[np.float64]
# Slot -> model -> float64 values, in the target's shape.
Operands = Mapping[str, Mapping[str, Array]]


def described(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    return describe(checkpoint, recognise(checkpoint.config, folder))


def interpolated(target: Path, donor: Path, alpha: float) -> Recipe:
    """The paper's merge of two folders by their specs."""
    first, second = described(target), described(donor)
    plan = spec_mapper().plan(first, {"a": second})
    return Recipe(first.checkpoint, {"a": second.checkpoint}, plan, Linear(), {"a": alpha})


def published(recipe: Recipe, folder: Path, shard_bytes: int = 10**9) -> Path:
    """The merged checkpoint with all that a model's folder needs to be loaded."""
    with whole_folder(folder, 0) as partial:
        write_tensors(recipe, partial, shard_bytes)
        copy_side_files(recipe.target.folder, partial)
    return folder


def make(
    method: Method,
    target: Path,
    donors: Mapping[str, Path],
    ancestor: Path | None,
    shares: float | Mapping[str, float] = 0.5,
    mapper: SpecMapper | None = None,
) -> Recipe:
    """The recipe of these folders, whose formats config.json tells, with what its method measures."""
    models = {name: described(folder) for name, folder in donors.items()}
    base = None if ancestor is None else described(ancestor)
    plan = (mapper or spec_mapper()).plan(described(target), models, base)
    recipe = Recipe(
        open_checkpoint(target),
        {name: model.checkpoint for name, model in models.items()},
        actionable(plan, method),
        method,
        shares if isinstance(shares, Mapping) else {name: shares / len(donors) for name in donors},
        None if base is None else base.checkpoint,
    )
    return measured(recipe, workers=2)


def measured(recipe: Recipe, workers: int | None = None, advance: Advance = lambda _: None) -> Recipe:
    """The recipe with what its method must know of the whole model; itself if that is nothing."""
    survey = recipe.method.survey()
    if survey is None or survey.scope != "model" or not recipe.mapped:
        return recipe
    return replace(recipe, statistics=recipe.surveyed(survey, workers, advance))


def written(recipe: Recipe, folder: Path, workers: int = 2) -> dict[str, bytes]:
    """File name -> bytes of the merged checkpoint, in many small shards."""
    folder.mkdir()
    write_tensors(recipe, folder, 700, workers)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def exact(state: tiny.State) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def coarse(state: tiny.State, dtype: torch.dtype) -> tiny.State:
    """Multiples of 1/2 in all of it: many equal magnitudes, zeros and sums that cancel."""
    return {name: ((tensor * 2).round() / 2).to(dtype) for name, tensor in state.items()}


def units(value: Array, dtype: torch.dtype) -> Array:
    """The distance of neighbours in `dtype` at each value."""
    bits, least = {torch.bfloat16: (8, -133), torch.float16: (11, -24), torch.float32: (24, -149)}[dtype]
    return 2.0 ** np.maximum(np.frexp(value)[1] - bits, least)


def assert_within_a_unit(found: torch.Tensor, expected: Array) -> None:
    """At most one unit in the last place of the found dtype away."""
    difference = np.abs(found.double().numpy() - expected)
    assert (difference <= units(expected, found.dtype)).all(), difference.max()


# A merge: the recipe at shares, and what a reference needs.
Merge = tuple[Callable[..., Recipe], Operands]


def heterogeneous(target: Path, donor: Path, ancestor: Path) -> Merge:
    """Qwen2-VL, and LLaVA-OneVision under the hub's names, from one Qwen2."""
    own, theirs, base = (open_checkpoint(folder) for folder in (target, donor, ancestor))
    operands = {
        name: {
            "target": own.read(name).double().numpy(),
            "a": theirs.read(f"language_model.{name}").double().numpy(),
            "ancestor": base.read(name).double().numpy(),
        }
        for name in base.tensors
    }

    def recipe(method: Method, alpha: float = 0.5) -> Recipe:
        return make(method, target, {"a": donor}, ancestor, alpha)

    return recipe, operands


def fused(folder: Path) -> Merge:
    """CogVLM with its two experts and fused q, k, v, in bfloat16; a float16 Llama; a float32 ancestor."""
    states = {
        "target": tiny.cogvlm_state(3, dtype=torch.bfloat16),
        "a": tiny.llama_state(4, dtype=torch.float16),
        "ancestor": tiny.llama_state(5),
    }
    target = tiny.write_model(folder / "target", states["target"], "CogVLMForCausalLM", shards=2)
    donor = tiny.write_model(folder / "a", states["a"], shards=2, torch_zip=True)
    ancestor = tiny.write_model(folder / "ancestor", states["ancestor"])
    values = {name: exact(state) for name, state in states.items()}
    operands = {}
    for name, own in values["target"].items():
        if "vision.patch" not in name and "rotary" not in name:
            plain = {m: counterpart(name, values[m]) for m in ("a", "ancestor")}
            operands[name] = {"target": own, **plain}

    def recipe(method: Method, alpha: float = 0.5) -> Recipe:
        return make(method, target, {"a": donor}, ancestor, alpha)

    return recipe, operands


def counterpart(name: str, plain: Mapping[str, Array]) -> Array:
    """What a tensor of CogVLM is in a plain Llama: of both experts the same."""
    for expert in ("language", "vision"):
        name = name.replace(f"{expert}_expert_", "").replace(f"{expert}_mlp.", "")
    if "query_key_value" in name:
        return np.concatenate([plain[name.replace("query_key_value", f"{p}_proj")] for p in "qkv"])
    return plain[name.replace("self_attn.dense", "self_attn.o_proj")]


def two_donors(folder: Path) -> Merge:
    """Coarse values, two donors of shares 0.25 and 0.5, the second without the second layer."""
    layers = {"target": 2, "a": 2, "b": 1, "ancestor": 2}
    states = {
        name: coarse(tiny.llama_state(seed, layers=count), torch.float32)
        for seed, (name, count) in enumerate(layers.items())
    }
    folders = {name: tiny.write_model(folder / name, state) for name, state in states.items()}
    values = {name: exact(state) for name, state in states.items()}
    operands = {
        name: {model: value[name] for model, value in values.items() if name in value}
        for name in states["target"]
    }

    def recipe(method: Method, alpha: float = 0.75) -> Recipe:
        shares = {"a": alpha / 3, "b": alpha * 2 / 3}
        return make(method, folders["target"], {n: folders[n] for n in "ab"}, folders["ancestor"], shares)

    return recipe, operands


def task_vectors(operands: Operands) -> dict[str, dict[str, Array]]:
    """Slot -> model -> its values minus the ancestor's."""
    return {
        slot: {name: value - values["ancestor"] for name, value in values.items() if name != "ancestor"}
        for slot, values in operands.items()
    }


def shares_of(recipe: Recipe, models: Mapping[str, object]) -> dict[str, float]:
    """Model -> share of a slot that these models have."""
    donors = {name: recipe.coefficients[name] for name in models if name != "target"}
    return {"target": 1 - sum(donors.values()), **donors}


def assert_merged(recipe: Recipe, expected: Mapping[str, Array], bitwise: bool = False) -> None:
    """Every slot is the expected float64 value, rounded; all tensors without one are the target's."""
    for name, tensor in recipe.tensors():
        if name not in expected:
            tiny.assert_same_bits(tensor, recipe.target.read(name))
        elif bitwise:
            tiny.assert_same_bits(tensor, torch.from_numpy(expected[name]).to(tensor.dtype))
        else:
            assert_within_a_unit(tensor, expected[name])
