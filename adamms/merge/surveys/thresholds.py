"""The k-th largest magnitude among any number of values: exact, in two passes, in bounded memory.

The first pass counts magnitudes in bins by their leading bits: exponent and 8 bits of the mantissa. The
second pass collects the values of the bin with the k-th, equal values once. Knows nothing of methods.

The bound: 16 bytes for each different value of the bins with the wanted ranks, of all tensors that are
measured at once, and as much again while they are sorted. A bin is 1/256 of an octave wide: it holds less
than 0.2% of the elements of task vectors, and of 16-bit inputs only a few different values. Chunks in
float64, and 0.6 MB of counts for each name, come on top.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from adamms.checkpoint.finite import finite
from adamms.merge import kernel
from adamms.merge.method import Statistics
from adamms.merge.surveys.compiled import CompiledSummary, Taken, Vectors

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Ranks = Callable[[int], Sequence[int]]

MANTISSA_BITS = 8
SHIFT = 52 - MANTISSA_BITS
# Binary exponents from the least float32 to the largest difference of two, with some room. Float64 values
# beyond are counted in the outermost bins; the result stays exact, but these bins may be large.
LEAST, GREATEST = -160, 130
BINS = kernel.Bins(SHIFT, (LEAST + 1023) << MANTISSA_BITS, (GREATEST - LEAST) << MANTISSA_BITS)
# Collected values are sorted, and equal ones joined, when this many wait.
COMPACT_AT = 1 << 18


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
            values, counts = found.tally(name)
            bins = _bins_of(torch.from_numpy(values)).numpy()
            at_ranks = []
            for place in places:
                mine = bins == place.bin
                upto = np.cumsum(counts[mine][::-1])
                at_ranks.append(float(values[mine][::-1][np.searchsorted(upto, place.rank)]))
            thresholds[name] = tuple(at_ranks) or (float("inf"),)
        return Thresholds(thresholds)


class Histograms(CompiledSummary):
    """Name -> how many magnitudes there are in each bin."""

    trims: ClassVar[bool] = False

    def __init__(self, taken: Taken) -> None:
        super().__init__(taken)
        self.counts: dict[str, Counts] = {}

    def add_stored(self, models: Vectors, base: torch.Tensor) -> None:
        for name, model in models.items():
            self.counts[name] = self.counts.get(name, 0) + kernel.count(model, base, BINS)

    def add_exact(self, vectors: Vectors) -> None:
        for name, values in vectors.items():
            codes = _bins_of(_finite_magnitudes(values))
            counts = torch.bincount(codes, minlength=BINS.count).cpu().numpy()
            self.counts[name] = self.counts.get(name, 0) + counts

    def __iadd__(self, other: Self) -> Self:
        for name, counts in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + counts
        return self


class Collected(CompiledSummary):
    """Name -> the magnitudes in some bins, each with how often it occurs."""

    trims: ClassVar[bool] = False

    def __init__(self, taken: Taken, bins: Mapping[str, Sequence[int]]) -> None:
        super().__init__(taken)
        self.bins = bins
        self._found: dict[str, list[tuple[Values, Counts]]] = {name: [] for name in bins}
        self._waiting = dict.fromkeys(bins, 0)

    def add_stored(self, models: Vectors, base: torch.Tensor) -> None:
        for name, model in models.items():
            for number in self.bins[name]:
                inside = kernel.collect(model, base, BINS, number)
                self._append(name, *np.unique(inside, return_counts=True))

    def add_exact(self, vectors: Vectors) -> None:
        for name, values in vectors.items():
            magnitudes = _finite_magnitudes(values)
            codes = _bins_of(magnitudes)
            for number in self.bins[name]:
                inside = magnitudes[codes == number].cpu().numpy()
                self._append(name, *np.unique(inside, return_counts=True))

    def __iadd__(self, other: Self) -> Self:
        for name in other.bins:
            self._append(name, *other.tally(name))
        return self

    def tally(self, name: str) -> tuple[Values, Counts]:
        """The values in ascending order, and how often each occurs."""
        found = self._found[name]
        values = np.concatenate([np.empty(0), *(values for values, _ in found)])
        counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in found)])
        order = np.argsort(values, kind="stable")
        values, counts = values[order], counts[order]
        first = np.flatnonzero(np.diff(values, prepend=-1.0) != 0)
        joined = (values[first], np.add.reduceat(counts, first) if len(first) else counts)
        self._found[name], self._waiting[name] = [joined], 0
        return joined

    def _append(self, name: str, values: Values, counts: Counts) -> None:
        self._found[name].append((values, counts))
        self._waiting[name] += len(values)
        # Sorting only when more waits than was sorted before is cheap, and bounds the memory.
        if self._waiting[name] > max(COMPACT_AT, len(self._found[name][0][0])):
            self.tally(name)


def _finite_magnitudes(values: torch.Tensor) -> torch.Tensor:
    magnitudes = values.abs().reshape(-1)
    return magnitudes if finite(magnitudes) else magnitudes[torch.isfinite(magnitudes)]


def _bins_of(magnitudes: torch.Tensor) -> torch.Tensor:
    """The bin of each float64 magnitude; larger magnitudes have larger bins."""
    codes = magnitudes.view(torch.int64) >> BINS.shift
    return codes.sub_(BINS.first).clamp_(0, BINS.count - 1)
