"""Sums against fractions: exact, whatever the chunks and their order."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.mapping.plan import Slot
from adamms.merge.method import Chunk
from adamms.merge.surveys.sums import POINT, Summation, Sums, exact_sum
from adamms.merge.surveys.survey import measure

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, max_size=40))
def test_rows_are_added_exactly(values: list[float]) -> None:
    assert Fraction(exact_sum(np.array(values)), 1 << POINT) == sum(map(Fraction, values))


def total(rows: torch.Tensor, steps: list[int], workers: int = 0) -> float:
    """The sum of a tensor that comes in chunks of so many rows, each chunk a slot of its own."""
    chunks = {}
    for number, part in enumerate(rows.split(steps)):
        chunks[str(number)] = Chunk(str(number), tuple(part.shape), 0, part.clone(), {}, None, {})
    slots = [Slot(name, (1,), "F32", "") for name in chunks]
    survey = Summation(lambda chunk: {"a": chunk.target})
    found = measure(survey, slots, lambda slot, _: [chunks[slot.name]], workers)
    assert isinstance(found, Sums)
    return found.of["a"]


@pytest.mark.parametrize("width", [1, 2, 7, 129, 1000])
def test_chunks_and_threads_do_not_show(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (60, width)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64) * 10.0 ** torch.randint(
        -9, 9, shape, generator=generator
    )
    whole = total(rows, [60])
    assert whole == pytest.approx(float(rows.sum()), rel=1e-6)
    for steps in ([1] * 60, [7, 53], [20, 20, 20], [59, 1]):
        assert total(rows, steps) == whole
        assert total(rows, steps, workers=3) == whole
    assert total(rows.flip(0), [31, 29]) == whole


def test_a_vectors_elements_are_rows() -> None:
    assert total(torch.tensor([1e300, 1.0, -1e300, 2.0**-60], dtype=torch.float64), [1, 3]) == 1.0


def test_infinities_and_nans_do_not_count() -> None:
    rows = torch.tensor([[1.0, float("inf")], [float("nan"), 2.0]], dtype=torch.float64)
    assert total(rows, [2]) == 3.0
