"""Thresholds against a full sort, however the values come in chunks and are added up."""

import struct
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.mapping.plan import Slot
from adamms.merge.method import Chunk
from adamms.merge.surveys import thresholds as thresholds_module
from adamms.merge.surveys.survey import measure
from adamms.merge.surveys.thresholds import Ranking, Thresholds

# Many equal values, zeros of both signs, neighbours in one bin, subnormals, and the ends of float64.
VALUES = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 1.0, -1.0, 1.0000001, 0.5, 5e-324, -3e-310, 1.7e308, float("inf"), float("nan")]
    ),
    st.floats(width=64),
    st.floats(-2, 2, width=16),
    st.integers(0, 2000).map(lambda i: 1 + i * 2**-40),
)


def chunk_of(slot: str, values: Sequence[float]) -> Chunk:
    tensor = torch.tensor(values, dtype=torch.float64)
    return Chunk(slot, tuple(tensor.shape), 0, tensor, {}, None, {})


def slots_of(names: Sequence[str]) -> list[Slot]:
    return [Slot(name, (1,), "F32", "") for name in names]


def thresholds(parts: Sequence[Sequence[float]], ranks: Sequence[int], workers: int = 0) -> tuple[float, ...]:
    """Of values that come in parts, each a slot of one chunk."""
    chunks = {str(number): chunk_of(str(number), part) for number, part in enumerate(parts)}
    ranking = Ranking(lambda chunk: {"a": chunk.target}, lambda _: ranks)
    found = measure(ranking, slots_of(list(chunks)), lambda slot, _: [chunks[slot.name]], workers)
    assert isinstance(found, Thresholds)
    return found.of["a"]


def ranked(parts: Sequence[Sequence[float]]) -> list[float]:
    values = np.abs(np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]))
    return sorted(values[np.isfinite(values)].tolist(), reverse=True)


@given(st.lists(st.lists(VALUES, max_size=30), min_size=1, max_size=6), st.data())
def test_it_is_the_full_sorts(parts: list[list[float]], data: st.DataObject) -> None:
    expected = ranked(parts)
    if not expected:
        assert thresholds(parts, (1,)) == (float("inf"),)
        return
    ranks = data.draw(st.lists(st.integers(1, len(expected)), min_size=1, max_size=4))
    assert thresholds(parts, (1, *ranks, len(expected))) == (
        expected[0],
        *(expected[rank - 1] for rank in ranks),
        expected[-1],
    )


def test_ranks_outside_are_the_nearest_inside() -> None:
    assert thresholds([[3.0, -7.0], [5.0]], (0, -2, 4, 10**12)) == (7.0, 7.0, 3.0, 3.0)


@pytest.mark.parametrize("room", [1, 1 << 12, 1 << 18])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_of_many_values_in_one_bin(workers: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds_module, "ROOM", room)
    generator = np.random.default_rng(0)
    parts = [1 + generator.integers(0, 500, 4000) * 2.0**-30 for _ in range(5)]
    parts += [generator.normal(size=3000) for _ in range(3)]
    expected = ranked(parts)
    ranks = (1, 100, 2000, 2100, 10_000, len(expected) // 2, len(expected))
    assert thresholds(parts, ranks, workers) == tuple(expected[rank - 1] for rank in ranks)


RANKED = """
import sys
from collections.abc import Iterator

import torch

from adamms.mapping.plan import Slot
from adamms.merge.method import Chunk
from adamms.merge.surveys.survey import measure
from adamms.merge.surveys.thresholds import Ranking

ROWS, WIDTH = 128, 2048

def chunks(*_: object) -> Iterator[Chunk]:
    values = torch.randn(3, ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    room = torch.empty(3, ROWS, WIDTH, dtype=torch.float64)
    for number in range(int(sys.argv[1])):
        for one, into in zip(values, room, strict=True):
            into.copy_((one * (1 + number / 1000)).bfloat16())
        yield Chunk("w", (10**6, WIDTH), 0, room[0], {"a": room[1]}, room[2], {})

ranking = Ranking(Chunk.task_vectors, lambda count: (count // 100, count // 2), "tensor")
measure(ranking, [Slot("w", (1,), "F32", "")], chunks, 1)
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("RssAnon")))
"""


def test_a_process_does_not_grow_with_the_chunks_that_it_ranks() -> None:
    """Its memory in kB after the last one. 120 chunks more have some 2 MB of values that stay."""
    few, many = (
        int(subprocess.run([sys.executable, "-c", RANKED, count], check=True, capture_output=True).stdout)
        for count in ("20", "140")
    )
    assert many < few + 25_000


def test_the_number_of_values_decides_the_rank() -> None:
    """Infinities and NaNs have no rank, so they do not count."""
    seen = []

    def half(count: int) -> tuple[int]:
        seen.append(count)
        return (count // 2,)

    chunks = {
        "x": chunk_of("x", [1.0, float("inf"), 2.0, float("nan"), 3.0]),
        "y": chunk_of("y", [4.0, float("-inf")]),
    }
    ranking = Ranking(lambda chunk: {"a": chunk.target}, half)
    found = measure(ranking, slots_of(["x", "y"]), lambda slot, _: [chunks[slot.name]], 0)
    assert isinstance(found, Thresholds)
    assert found.of["a"] == (3.0,)
    assert seen == [4]


@given(
    st.floats(0, allow_infinity=False, allow_nan=False), st.floats(0, allow_infinity=False, allow_nan=False)
)
def test_the_order_of_bins_is_that_of_magnitudes(a: float, b: float) -> None:
    bins = thresholds_module._bins_of(torch.tensor([a, b], dtype=torch.float64)).tolist()
    assert all(0 <= number < thresholds_module.BINS.count for number in bins)
    assert (bins[0] <= bins[1]) or a > b
    if 2.0**-149 <= a < 2.0**129:  # what differences of float32 values can be
        assert bins[0] not in (0, thresholds_module.BINS.count - 1)
        (bits,) = struct.unpack("<q", struct.pack("<d", a))
        same = struct.unpack("<d", struct.pack("<q", bits | ((1 << thresholds_module.SHIFT) - 1)))[0]
        assert thresholds_module._bins_of(torch.tensor([same], dtype=torch.float64)).tolist() == bins[:1]
