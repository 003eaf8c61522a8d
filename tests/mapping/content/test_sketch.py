"""Sketches: linear, row by row, unbiased, whatever the chunks; and each byte of the file read once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny import write_state

from adamms.checkpoint.quantised.quantised import Rows
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.mapping.content import sketch
from adamms.mapping.content.sketch import BUCKETS, bytes_to_read, random_signs, sketch_model, sketch_rows

rows_of = st.integers(1, 40)
columns_of = st.integers(1, 70)
seeds = st.integers(0, 2**20)


def matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@given(rows_of, columns_of, seeds, st.floats(-3, 3), st.floats(-3, 3))
def test_sketching_is_linear(rows: int, columns: int, seed: int, a: float, b: float) -> None:
    x, y = matrix(rows, columns, seed), matrix(rows, columns, seed + 1)
    together = sketch_rows(a * x + b * y)
    apart = a * sketch_rows(x) + b * sketch_rows(y)
    # Sums of at most 5 numbers of size 10 per bucket in float32.
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-4)


@given(rows_of, columns_of, seeds, st.data())
def test_the_sketch_of_a_slice_is_the_slice_of_the_sketch(
    rows: int, columns: int, seed: int, data: st.DataObject
) -> None:
    x = matrix(rows, columns, seed)
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    assert torch.equal(sketch_rows(x[start:stop]), sketch_rows(x)[start:stop])


@given(rows_of, columns_of, seeds, st.integers(1, 2000))
def test_columns_are_the_rows_of_the_transpose(rows: int, columns: int, seed: int, chunk: int) -> None:
    x = matrix(rows, columns, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "CHUNK_ELEMENTS", chunk)
        # Sums of at most 5 numbers of size 5 per bucket in float32.
        torch.testing.assert_close(sketch.sketch_columns(x), sketch_rows(x.T), rtol=0, atol=1e-5)


@given(rows_of, columns_of, seeds, st.integers(1, 200))
def test_the_size_of_chunks_changes_nothing(rows: int, columns: int, seed: int, chunk: int) -> None:
    x = matrix(rows, columns, seed)
    whole = sketch_rows(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "CHUNK_ELEMENTS", chunk)
        assert torch.equal(sketch_rows(x), whole)


@given(rows_of, st.integers(BUCKETS + 1, 70), seeds)
def test_equals_the_definition(rows: int, columns: int, seed: int) -> None:
    x = matrix(rows, columns, seed)
    expected = torch.zeros(rows, BUCKETS, dtype=torch.float64)
    signs = random_signs(columns)
    for column in range(columns):
        expected[:, column % BUCKETS] += x[:, column].double() * signs[column]
    torch.testing.assert_close(sketch_rows(x).double(), expected, rtol=0, atol=1e-5)


def test_inner_products_are_unbiased_with_the_stated_deviation() -> None:
    """The mean error over many pairs of correlated matrices is 0; unrelated ones deviate by 1 / sqrt(k n)."""
    rows, columns, trials = 64, 512, 200
    errors, chance = [], []
    for trial in range(trials):
        x, y = matrix(rows, columns, 2 * trial), matrix(rows, columns, 2 * trial + 1)
        close = 0.9 * x + (1 - 0.81) ** 0.5 * y
        for a, b, found in ((x, close, errors), (x, y, chance)):
            estimate = (sketch_rows(a) * sketch_rows(b)).sum() / (rows * columns)
            found.append(float(estimate - (a * b).sum() / (rows * columns)))
    assert abs(torch.tensor(errors).mean()) < 0.01  # six deviations of the mean
    expected = (BUCKETS * rows) ** -0.5
    assert 0.8 * expected < float(torch.tensor(chance).std()) < 1.2 * expected


def test_rows_of_few_values_are_kept() -> None:
    assert torch.equal(sketch_rows(matrix(5, 4, 0)), matrix(5, 4, 0))


def test_a_stack_is_as_many_matrices_and_a_convolution_is_one(tmp_path: Path) -> None:
    stack, kernels = torch.randn(3, 24, 48), torch.randn(64, 1, 4)
    save_file({"experts": stack, "conv": kernels}, tmp_path / "model.safetensors")
    model = sketch_model(open_checkpoint(tmp_path))
    assert list(model.sketches) == ["conv", "experts[0]", "experts[1]", "experts[2]"]
    for index, part in enumerate(model.parts("experts")):
        assert part.shape == (24, 48)
        assert torch.equal(part.rows, sketch_rows(stack[index]))
    (turned,) = model.transposed(model.parts("experts")[1:2])
    torch.testing.assert_close(turned.rows, sketch_rows(stack[1].T))


def test_one_dimension_is_kept_and_infinities_are_not(tmp_path: Path) -> None:
    vector = torch.tensor([1.0, 2.0, -3.0])
    broken = matrix(4, 40, 0)
    broken[1, 3], broken[2, 5] = float("nan"), float("inf")
    save_file({"vector": vector, "broken": broken}, tmp_path / "model.safetensors")
    model = sketch_model(open_checkpoint(tmp_path))
    assert torch.equal(model.sketches["vector"].rows, vector[:, None])
    assert torch.isfinite(model.sketches["broken"].rows).all()
    assert torch.equal(model.sketches["broken"].rows[0], sketch_rows(broken[:1])[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("torch_zip", [False, True])
def test_every_dtype_and_both_kinds_of_file(tmp_path: Path, dtype: torch.dtype, torch_zip: bool) -> None:
    values = matrix(20, 48, 1).to(dtype)
    write_state(
        {"a": values, "b": values[:, :7].clone(), "c": torch.arange(3)}, tmp_path, torch_zip=torch_zip
    )
    model = sketch_model(open_checkpoint(tmp_path))
    assert set(model.sketches) == {"a", "b"}
    assert torch.equal(model.sketches["a"].rows, sketch_rows(values.float()))


# ---------------------------------------------------------------- how much is read


class Watched(torch.Tensor):
    """A tensor whose views are watched too: any operation that takes values notes which bytes it took."""

    inner: torch.Tensor
    log: list[tuple[int, int]]

    @staticmethod
    def __new__(cls, inner: torch.Tensor, log: list[tuple[int, int]]) -> "Watched":
        made: Watched = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, storage_offset=inner.storage_offset()
        )
        made.inner, made.log = inner, log
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watched = [arg for arg in args if isinstance(arg, Watched)]
        plain = [arg.inner if isinstance(arg, Watched) else arg for arg in args]
        result = func(*plain, **(kwargs or {}))
        if func.is_view:
            return Watched(result, watched[0].log)
        for arg in watched:
            assert arg.inner.is_contiguous()
            start = arg.inner.data_ptr()
            arg.log.append((start, start + arg.inner.nbytes))
        return result


@dataclass(frozen=True)
class Counting(Checkpoint):
    """A checkpoint that notes which bytes of its mapped files are used."""

    log: list[tuple[int, int]] = field(default_factory=list)
    mapped: dict[str, torch.Tensor] = field(default_factory=dict)

    def rows(self, name: str) -> Rows:
        # One mapping per tensor, kept, so that addresses tell bytes apart.
        return Watched(self.mapped.setdefault(name, super().rows(name)[:]), self.log)


def overlaps(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    spans = sorted(spans)
    for (_, stop), (start, _) in pairwise(spans):
        if start < stop:
            yield start, stop


@pytest.mark.parametrize("workers", [1, 3])
def test_each_byte_is_read_once(kin: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "JOB_ELEMENTS", 5000)  # so that tensors are shared out
    monkeypatch.setattr(sketch, "CHUNK_ELEMENTS", 1000)
    plain = open_checkpoint(kin / "donor")
    counted = Counting(plain.folder, plain.tensors, plain.config)
    told: list[int] = []
    model = sketch_model(counted, told.append, workers)
    assert not list(overlaps(counted.log))
    assert sum(stop - start for start, stop in counted.log) == bytes_to_read(plain) == sum(told)
    expected = sketch_model(plain)
    for name, found in model.sketches.items():
        assert torch.equal(found.rows, expected.sketches[name].rows)
