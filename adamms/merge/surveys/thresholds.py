"""The k-th largest magnitude among any number of values: exact, in two passes, in bounded memory.

The first pass counts magnitudes in bins by their leading bits: exponent and 8 bits of the mantissa. The
second pass collects the values of the bin with the k-th, equal values once. Knows nothing of methods.

The bound: 16 to 32 bytes for each different value of the bins with the wanted ranks, of all tensors that
are measured at once, and twice as much again while they are sorted. A bin is 1/256 of an octave wide: it
holds less than 0.2% of the elements of task vectors, and of 16-bit inputs only a few different values.
Chunks in float64, and 0.6 MB of counts for each name, come on top.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from adamms.checkpoint.finite import finite
from adamms.merge import kernel_ranks
from adamms.merge.method import Chunk, Statistics
from adamms.merge.surveys.compiled import CompiledSummary, Taken, Vectors
from adamms.merge.task_vectors import TaskVectors

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Ranks = Callable[[int], Sequence[int]]

MANTISSA_BITS = 8
SHIFT = 52 - MANTISSA_BITS
# Binary exponents from the least float32 to the largest difference of two, with some room. Float64 values
# beyond are counted in the outermost bins; the result stays exact, but these bins may be large.
LEAST, GREATEST = -160, 130
BINS = kernel_ranks.Bins(SHIFT, (LEAST + 1023) << MANTISSA_BITS, (GREATEST - LEAST) << MANTISSA_BITS)
# Room for collected values at first. When it is full, equal values are joined; if less than half is free
# then, there is more room.
ROOM = 1 << 12


@dataclass(frozen=True)
class Thresholds(Statistics):
    """What a `Ranking` finds.

    Args:
        of: name -> the magnitudes at the ranks asked for, in that order; infinity if no value is finite.
    """

    of: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Ranking:
    """A survey for the magnitudes at given ranks, separately for each name. Infinities and NaNs do not count.

    Args:
        taken: chunk -> name -> values to rank, of any shape; called once for every chunk and pass.
        ranks: number of values -> the ranks wanted, where 1 is the largest value; clamped to [1, number].
        scope: of the model, or of each tensor.
    """

    taken: Taken
    ranks: Ranks
    scope: Literal["model", "tensor"] = "model"
    passes: ClassVar[int] = 2

    def empty(self) -> "Histograms":
        return Histograms(self.taken)

    def conclude(self, found: "Histograms") -> "Refinement":
        wanted = {}
        for name, counts in found.counts.items():
            total = int(counts.sum())
            # Largest first: `above[i]` values are in the bins above BINS.count - 1 - i.
            upto = np.cumsum(counts[::-1])
            places = []
            for rank in self.ranks(total) if total else ():
                rank = min(max(rank, 1), total)
                place = int(np.searchsorted(upto, rank))
                places.append(Place(BINS.count - 1 - place, rank - int(upto[place - 1] if place else 0)))
            wanted[name] = tuple(places)
        return Refinement(self.taken, wanted, self.scope)


@dataclass(frozen=True)
class Place:
    """A bin, and a rank among the values in it, 1 being the largest."""

    bin: int
    rank: int


@dataclass(frozen=True)
class Refinement:
    """The second pass: the values of the bins with the wanted ranks."""

    taken: Taken
    wanted: Mapping[str, tuple[Place, ...]]
    scope: Literal["model", "tensor"]
    passes: ClassVar[int] = 1

    def empty(self) -> "Collected":
        return Collected(self.taken, {name: sorted({p.bin for p in ps}) for name, ps in self.wanted.items()})

    def conclude(self, found: "Collected") -> Thresholds:
        thresholds = {}
        for name, places in self.wanted.items():
            tally = found.found[name]
            tally.compact()
            values, counts = tally.values, tally.counts
            bins = _bins_of(torch.from_numpy(values)).numpy()
            at_ranks = []
            for place in places:
                mine = bins == place.bin
                upto = np.cumsum(counts[mine][::-1])
                at_ranks.append(float(values[mine][::-1][np.searchsorted(upto, place.rank)]))
            thresholds[name] = tuple(at_ranks) or (float("inf"),)
        return Thresholds(thresholds)


class Sizes(CompiledSummary):
    """A summary of magnitudes; of task vectors whose rows have factors, of their sizes."""

    trims: ClassVar[bool] = False

    def exactly_taken(self, chunk: Chunk) -> Vectors:
        return self.taken.sizes(chunk) if isinstance(self.taken, TaskVectors) else self.taken(chunk)


class Histograms(Sizes):
    """Name -> how many magnitudes there are in each bin."""

    def __init__(self, taken: Taken) -> None:
        super().__init__(taken)
        self.counts: dict[str, Counts] = {}

    def add_stored(self, vectors: TaskVectors, chunk: Chunk) -> None:
        models, base = vectors.operands(chunk)
        for name, model in models.items():
            self._count(name, kernel_ranks.count(model, base, BINS, vectors.kept(name, chunk)))

    def add_exact(self, vectors: Vectors) -> None:
        for name, values in vectors.items():
            codes = _bins_of(_finite_magnitudes(values))
            self._count(name, torch.bincount(codes, minlength=BINS.count).cpu().numpy())

    def __iadd__(self, other: Self) -> Self:
        for name, counts in other.counts.items():
            self._count(name, counts)
        return self

    def _count(self, name: str, counts: Counts) -> None:
        if name in self.counts:
            self.counts[name] += counts
        else:
            self.counts[name] = counts.copy()


class Collected(Sizes):
    """Name -> the magnitudes in some bins, each with how often it occurs."""

    def __init__(self, taken: Taken, bins: Mapping[str, Sequence[int]]) -> None:
        super().__init__(taken)
        self.bins = bins
        self.found = {name: Tally() for name in bins}

    def add_stored(self, vectors: TaskVectors, chunk: Chunk) -> None:
        models, base = vectors.operands(chunk)
        for name in (name for name in models if self.bins[name]):
            kept = vectors.kept(name, chunk)
            self.found[name].add(kernel_ranks.collect(models[name], base, BINS, self.bins[name], kept))

    def add_exact(self, vectors: Vectors) -> None:
        for name, values in vectors.items():
            magnitudes = _finite_magnitudes(values)
            codes = _bins_of(magnitudes)
            for number in self.bins[name]:
                self.found[name].add(magnitudes[codes == number].cpu().numpy())

    def __iadd__(self, other: Self) -> Self:
        for name, tally in other.found.items():
            self.found[name].add(tally.values, tally.counts)
        return self


class Tally:
    """Different values, each with how often it occurs.

    They are copied into room of their own. Small arrays that stay, made between chunks that go, would split
    the memory that chunks leave, so that the next ones need new memory: a process would grow with the chunks
    that it reads.
    """

    def __init__(self) -> None:
        self._values, self._counts = np.empty(ROOM), np.empty(ROOM, np.int64)
        self._used = 0

    @property
    def values(self) -> Values:
        return self._values[: self._used]

    @property
    def counts(self) -> Counts:
        return self._counts[: self._used]

    def add(self, values: Values, counts: Counts | None = None) -> None:
        """Count values in, each once or as often as `counts` says."""
        if counts is None:
            values, counts = np.unique(values, return_counts=True)
        if self._used + len(values) > len(self._values):
            self.compact()
            if 2 * (self._used + len(values)) > len(self._values):
                self._grow(2 * (self._used + len(values)))
        new = slice(self._used, self._used + len(values))
        self._values[new], self._counts[new] = values, counts
        self._used = new.stop

    def compact(self) -> None:
        """Sort the values in ascending order, and join equal ones."""
        order = np.argsort(self.values, kind="stable")
        values, counts = self.values[order], self.counts[order]
        first = np.flatnonzero(np.diff(values, prepend=-1.0) != 0)
        self._used = len(first)
        self.values[:] = values[first]
        self.counts[:] = np.add.reduceat(counts, first) if len(first) else 0

    def _grow(self, room: int) -> None:
        values, counts = np.empty(room), np.empty(room, np.int64)
        values[: self._used], counts[: self._used] = self.values, self.counts
        self._values, self._counts = values, counts


def _finite_magnitudes(values: torch.Tensor) -> torch.Tensor:
    magnitudes = values.abs().reshape(-1)
    return magnitudes if finite(magnitudes) else magnitudes[torch.isfinite(magnitudes)]


def _bins_of(magnitudes: torch.Tensor) -> torch.Tensor:
    """The bin of each float64 magnitude; larger magnitudes have larger bins."""
    codes = magnitudes.view(torch.int64) >> BINS.shift
    return codes.sub_(BINS.first).clamp_(0, BINS.count - 1)
