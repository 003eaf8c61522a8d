"""Infinite and NaN values of the models: counted by model and tensor, whatever the method makes of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from configured import configured
from safetensors.torch import load_file
from tiny_merges import make

from adamms.checkpoint.finite import count_nonfinite, finite
from adamms.checkpoint.writer import write_tensors
from adamms.errors import AdammsError
from adamms.merge.catalogue import known_methods
from adamms.merge.device import Computed
from adamms.merge.singular import MatrixMethod
from adamms.merge.sources import MAPPED_FILES

NORM, GATE, UP = (
    "model.norm.weight",
    "model.layers.1.mlp.gate_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
)
NAN, INF = float("nan"), float("inf")
# They decompose matrices, of which GATE is one.
DECOMPOSES = [method.name for method in known_methods() if issubclass(method, MatrixMethod)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    states = [tiny.llama_state(i, dtype=torch.bfloat16) for i in range(3)]
    states[0][NORM][2] = NAN
    states[1][NORM][2], states[1][GATE][0, :3] = -INF, INF
    states[2][UP][1, 1] = NAN
    root = tmp_path_factory.mktemp("models")
    return [tiny.write_model(root / str(i), state) for i, state in enumerate(states)]


@pytest.mark.parametrize("name", [method.name for method in known_methods()])
def test_every_method_merges_around_them_and_they_are_counted(
    name: str, folders: list[Path], tmp_path: Path
) -> None:
    method = configured(f"merge/{name}")
    recipe = make(method, folders[0], {"a": folders[1]}, folders[2] if method.needs_ancestor else None)
    computed = Computed(recipe, MAPPED_FILES)
    if name in DECOMPOSES:
        with pytest.raises(AdammsError, match="has infinite or NaN values"):
            write_tensors(computed, tmp_path, 10**9)
        return
    write_tensors(computed, tmp_path, 10**9, fast=computed.write)
    merged = load_file(tmp_path / "model.safetensors")
    places = {NORM: {2}, GATE: {0, 1, 2}, **({UP: {7}} if method.needs_ancestor else {})}
    for tensor, values in merged.items():
        wrong = set(values.isfinite().logical_not().reshape(-1).nonzero().view(-1).tolist())
        assert wrong <= places.get(tensor, set()), tensor
    lines = [
        f"donor a: {GATE} has 3 infinite or NaN values",
        f"donor a: {NORM} has 1 infinite or NaN value",
        *([f"ancestor: {UP} has 1 infinite or NaN value"] if method.needs_ancestor else []),
        f"target: {NORM} has 1 infinite or NaN value",
    ]
    assert sorted(computed.inputs.lines()) == sorted(lines)


def test_of_many_tensors_the_first_are_told(tmp_path: Path) -> None:
    state = {name: values.fill_(NAN) for name, values in tiny.llama_state(0).items()}
    kept = tiny.write_model(tmp_path / "t", state)
    computed = Computed(make(configured("merge/linear"), kept, {"a": kept}, None, 0.0), MAPPED_FILES)
    for name in state:
        list(computed.pieces(name))
    assert len(list(computed.inputs.lines())) == 11
    assert list(computed.inputs.lines())[-1] == f"{len(state) - 10} more tensors have infinite or NaN values"


@pytest.mark.parametrize(
    "name", ["breadcrumbs", "ties", "dare_ties", "della", "sce", "metagpt", "slerp", "karcher"]
)
def test_a_tensor_without_a_finite_value_does_not_stop_a_survey(name: str, tmp_path: Path) -> None:
    states = [tiny.llama_state(i) for i in range(3)]
    states[1][NORM].fill_(NAN)
    target, donor, ancestor = (tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states))
    method = configured(f"merge/{name}")
    merged = make(method, target, {"a": donor}, ancestor if method.needs_ancestor else None)
    assert merged.tensor(GATE).isfinite().all()
    merged.tensor(NORM)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("large", [1.7e308, 1e200])
def test_sums_that_float64_cannot_hold_are_an_error(large: float, tmp_path: Path) -> None:
    states = [tiny.llama_state(i, dtype=torch.float64) for i in range(2)]
    states[1][NORM].fill_(large)
    target, donor = (tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states))
    with pytest.raises(AdammsError, match=r"model\.norm\.weight: the method sums products of values"):
        make(configured("merge/karcher"), target, {"a": donor}, None).tensor(NORM)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_values_that_another_dtype_cannot_hold_are_an_error(share: float, tmp_path: Path) -> None:
    """Whether the tensor is merged or kept; an infinity that the target has stays."""
    states = [tiny.llama_state(i, dtype=torch.bfloat16) for i in range(2)]
    states[0][GATE][0, 0], states[0][NORM][0] = 1e6, INF
    target, donor = (tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states))
    recipe = replace(make(configured("merge/linear"), target, {"a": donor}, None, share), dtype="F16")
    assert recipe.tensor(NORM).isinf().sum() == 1
    for computed in (recipe.tensor, lambda name: list(recipe.pieces(name))):
        with pytest.raises(AdammsError, match=f"{GATE}.* values that torch.float16 cannot hold"):
            computed(GATE)
    assert replace(recipe, dtype="F32").tensor(GATE).isfinite().all()


def test_a_matrix_that_is_not_decomposed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(*arguments: object) -> None:
        raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge")

    states = [tiny.llama_state(i) for i in range(3)]
    target, donor, ancestor = (tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states))
    recipe = make(configured("merge/wudi"), target, {"a": donor}, ancestor)
    monkeypatch.setattr(torch.linalg, "eigh", diverging)
    with pytest.raises(AdammsError, match=rf"merge=wudi: {GATE} cannot be decomposed: .*mapper\.exclude"):
        recipe.tensor(GATE)


def test_integers_bits_and_floats_of_8_bits_are_looked_at_too() -> None:
    for dtype in (torch.int64, torch.uint8, torch.bool):
        assert finite(torch.ones(3).to(dtype))
    eight = torch.tensor([1.0, NAN, 2.0]).to(torch.float8_e4m3fn)
    assert count_nonfinite(eight) == 1
    assert count_nonfinite(torch.tensor([INF, 2.0]).to(torch.float8_e5m2)) == 1
    assert finite(torch.empty(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_sums_that_overflow_or_cancel_say_nothing(dtype: torch.dtype) -> None:
    largest = torch.full((100,), torch.finfo(dtype).max, dtype=dtype)
    assert finite(largest)
    assert count_nonfinite(largest) == 0
    assert count_nonfinite(torch.tensor([INF, -INF, 1.0], dtype=dtype)) == 2
