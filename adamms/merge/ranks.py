"""Order statistics of whole tensors, exact, from two passes over their chunks.

The k-th largest of a tensor's magnitudes is found without holding them: a histogram over the leading
bits of their float64 says in which bin it is, and the second pass keeps that bin's distinct values.
Knows nothing of methods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch

from adamms.merge.method import Chunk, Statistics, Survey

# Of a magnitude's 64 bits the leading 19: a sign that is 0, the exponent, seven bits of the fraction.
SHIFT, BINS = 45, 1 << 18

Magnitudes = Callable[[Chunk], Mapping[str, torch.Tensor]]
# (elements, those that are not zero) -> ranks, 1 for the largest magnitude.
Wanted = Callable[[int, int], Sequence[int]]


@dataclass(frozen=True)
class Thresholds(Statistics):
    """name -> the magnitudes of the ranks that were wanted, in their order."""

    values: Mapping[str, tuple[float, ...]]


@dataclass
class Histogram:
    """How many magnitudes begin with which bits."""

    magnitudes: Magnitudes
    counts: dict[str, torch.Tensor] = field(default_factory=dict)
    nonzero: dict[str, int] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        for name, values in self.magnitudes(chunk).items():
            self._count(
                name, torch.bincount(_bins(values), minlength=BINS).cpu(), int(torch.count_nonzero(values))
            )

    def __iadd__(self, other: Self) -> Self:
        for name, counts in other.counts.items():
            self._count(name, counts, other.nonzero[name])
        return self

    def _count(self, name: str, counts: torch.Tensor, nonzero: int) -> None:
        self.counts[name] = self.counts[name].add_(counts) if name in self.counts else counts
        self.nonzero[name] = self.nonzero.get(name, 0) + nonzero


@dataclass
class BinValues:
    """The distinct magnitudes of some bins, and how often each is there."""

    magnitudes: Magnitudes
    bins: Mapping[str, Sequence[int]]
    found: dict[tuple[str, int], list[tuple[torch.Tensor, torch.Tensor]]] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        for name, values in self.magnitudes(chunk).items():
            bins = _bins(values)
            for wanted in dict.fromkeys(self.bins[name]):
                distinct, counts = values.reshape(-1)[bins == wanted].unique(return_counts=True)
                self.found.setdefault((name, wanted), []).append((distinct.cpu(), counts.cpu()))

    def __iadd__(self, other: Self) -> Self:
        for key, parts in other.found.items():
            self.found.setdefault(key, []).extend(parts)
        return self

    def ranked(self, name: str, wanted: int, rank: int) -> float:
        """The magnitude of this rank within the bin."""
        parts = self.found[name, wanted]
        values, where = torch.cat([distinct for distinct, _ in parts]).unique(return_inverse=True)
        counts = torch.zeros(len(values), dtype=torch.int64)
        counts.index_add_(0, where, torch.cat([count for _, count in parts]))
        return float(values.flip(0)[int(torch.searchsorted(counts.flip(0).cumsum(0), rank))])


@dataclass(frozen=True)
class RanksOfTensor:
    """The survey: magnitudes of certain ranks.

    Args:
        magnitudes: what is ranked of a chunk: name -> values of 0 or more.
        wanted: which ranks; one that no element has (0, or more than there are) gives infinity or -1.
        then: what to make of the result: the statistics, or a further pass.
    """

    magnitudes: Magnitudes
    wanted: Wanted
    then: Callable[[Thresholds], Survey | Statistics] = lambda found: found
    scope: ClassVar[Literal["model", "tensor"]] = "tensor"

    def empty(self) -> Histogram:
        return Histogram(self.magnitudes)

    def conclude(self, found: Histogram) -> Survey | Statistics:
        places: dict[str, list[tuple[int, int]]] = {}
        for name, counts in found.counts.items():
            from_largest = counts.flip(0).cumsum(0)
            total = int(from_largest[-1])
            for rank in self.wanted(total, found.nonzero[name]):
                at = BINS if rank < 1 else int(torch.searchsorted(from_largest, rank))
                above = int(from_largest[at - 1]) if 0 < at < BINS else 0
                # Bins that no value has stand for ranks that no value has.
                place = BINS if rank < 1 else BINS - 1 - at
                places.setdefault(name, []).append((place, rank - above))
        return _WithinBins(self.magnitudes, places, self.then)


@dataclass(frozen=True)
class _WithinBins:
    """The second pass. A place is (bin, rank within it); bins BINS and -1 stand for no element's rank."""

    magnitudes: Magnitudes
    places: Mapping[str, Sequence[tuple[int, int]]]
    then: Callable[[Thresholds], Survey | Statistics]
    scope: ClassVar[Literal["model", "tensor"]] = "tensor"

    def empty(self) -> BinValues:
        return BinValues(
            self.magnitudes, {name: [at for at, _ in places] for name, places in self.places.items()}
        )

    def conclude(self, found: BinValues) -> Survey | Statistics:
        def value(name: str, at: int, rank: int) -> float:
            if at in (BINS, -1):
                return float("inf") if at == BINS else -1.0
            return found.ranked(name, at, rank)

        return self.then(
            Thresholds(
                {name: tuple(value(name, *place) for place in places) for name, places in self.places.items()}
            )
        )


def _bins(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1).view(torch.int64) >> SHIFT
