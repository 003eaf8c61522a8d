"""Sums over a tensor or the whole model that do not depend on chunks, order or threads.

Each row is summed in float64 as a whole. The sums of the rows are added exactly, as integers, and rounded
once. Knows nothing of what is summed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from adamms.checkpoint.finite import finite, made_nonfinite
from adamms.errors import AdammsError
from adamms.merge import kernel
from adamms.merge.method import Chunk, Statistics

Terms = Callable[[Chunk], Mapping[str, torch.Tensor]]
RowSums = Mapping[str, npt.NDArray[np.float64]]

# Every float64 is a multiple of 2**-1074; 52 bits more, because a mantissa is read as a whole number.
POINT = 1126
HALF = 26
TOO_LARGE = (
    "{}: the method sums products of values, and these are too large for float64; merge=linear sums none"
)


@runtime_checkable
class CompiledTerms(Protocol):
    """Terms whose sums by rows a compiled pass can take, with the same bits."""

    def __call__(self, chunk: Chunk, /) -> Mapping[str, torch.Tensor]: ...

    def row_sums(self, chunk: Chunk) -> RowSums | None:
        """Name -> the sum of each row, from stored values; None where no such pass is, or no finite sum."""
        ...


@dataclass(frozen=True)
class Sums(Statistics):
    """What a `Summation` finds.

    Args:
        of: name -> the sum.
        before: what an earlier survey found.
    """

    of: Mapping[str, float]
    before: Statistics | None = None


@dataclass(frozen=True)
class Summation:
    """A survey for one sum per name. Infinities and NaNs do not count.

    Args:
        terms: chunk -> name -> float64 terms of the chunk's shape.
        scope: of the model, or of each tensor.
        before: what an earlier survey found; handed on.
    """

    terms: Terms
    scope: Literal["model", "tensor"] = "model"
    before: Statistics | None = None
    passes: ClassVar[int] = 1

    def empty(self) -> "Totals":
        return Totals(self.terms)

    def conclude(self, found: "Totals") -> Sums:
        try:  # Python's division of integers rounds once, to the nearest.
            return Sums({name: total / (1 << POINT) for name, total in found.totals.items()}, self.before)
        except OverflowError as error:
            raise AdammsError(TOO_LARGE.format("the sum over all values")) from error


class Totals:
    """Name -> the sum so far, in multiples of 2**-POINT."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.totals: dict[str, int] = {}

    @property
    def stored(self) -> bool:
        return isinstance(self.terms, CompiledTerms) and kernel.LIBRARY is not None

    def add(self, chunk: Chunk) -> None:
        found: RowSums | None = None
        if self.stored:
            assert isinstance(self.terms, CompiledTerms)
            found = self.terms.row_sums(chunk)
            chunk = chunk if found is not None else chunk.exact()
        for name, sums in (found if found is not None else self._sums_of_rows(chunk)).items():
            self.totals[name] = self.totals.get(name, 0) + exact_sum(sums)

    def _sums_of_rows(self, chunk: Chunk) -> RowSums:
        """By NumPy's operations.

        Raises:
            AdammsError: a product or a sum is too large for float64.
        """
        found = {}
        for name, terms in self.terms(chunk).items():
            found[name] = sums_of_rows(terms.reshape(len(terms), -1).cpu().numpy())
            made = not finite(terms) and made_nonfinite(terms, chunk.models().values())
            if made or not np.isfinite(found[name]).all():
                raise AdammsError(TOO_LARGE.format(chunk.slot))
        return found

    def __iadd__(self, other: Self) -> Self:
        for name, total in other.totals.items():
            self.totals[name] = self.totals.get(name, 0) + total
        return self


def sums_of_rows(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of the finite values of each row, whatever the other rows are; infinite if it is too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduce(rows, axis=1)
        if not np.isfinite(sums).all():
            sums = np.add.reduce(np.where(np.isfinite(rows), rows, 0.0), axis=1)
    return sums


def exact_sum(values: npt.NDArray[np.float64]) -> int:
    """The sum of finite values, in multiples of 2**-POINT."""
    mantissas, exponents = np.frexp(values)
    integers = (mantissas * 2.0**53).astype(np.int64)
    total = 0
    for exponent in np.unique(exponents).tolist():
        # In halves, so that 64 bits hold the sum of billions.
        alike = integers[exponents == exponent]
        upper, lower = int((alike >> HALF).sum()), int((alike & ((1 << HALF) - 1)).sum())
        total += ((upper << HALF) + lower) << (exponent + POINT - 53)
    return total
