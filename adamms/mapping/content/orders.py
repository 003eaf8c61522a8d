"""Rows in another order: what rotary embeddings turn together lies in two halves of a head, or side by side.

Pure tensors in memory; knows nothing of names, files or plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adamms.mapping.content.noise import Values, normalised
from adamms.mapping.evaluation import interleaved
from adamms.mapping.expression import Expression, Interleave
from adamms.system.on_demand import torch

# Rows of a head: the least and the most that are tried.
SMALLEST, LARGEST = 4, 512
# Rows that were put in order one by one must resemble the target's as those of fine-tuned models do.
ONE_BY_ONE = 0.8


@dataclass(frozen=True)
class RowOrder:
    """How the rows of heads are dealt out, as by `Interleave`.

    Args:
        size: rows of a head.
        parts: 2 makes pairs of neighbours of two halves; size / 2 makes halves of neighbours.
    """

    size: int
    parts: int

    def applied(self, values: Values) -> Values:
        """The rows of `values` (R, ...), a tensor or an array, in this order; R is a multiple of `size`."""
        return interleaved(values, self.size, self.parts)

    def expression(self, source: Expression) -> Expression:
        """The same of a whole tensor."""
        return Interleave(source, self.size, self.parts)

    def __str__(self) -> str:
        """What the source has and what the target, for people."""
        have, want = ("halves", "neighbours") if self.parts == 2 else ("neighbours", "halves")
        return f"rotary {have} in heads of {self.size} rows, where the target has {want}"


def rotary_orders(rows: int) -> Iterator[RowOrder]:
    """Every order that a matrix of so many rows may be in, the largest heads first."""
    for size in range(min(LARGEST, rows) // 2 * 2, SMALLEST - 1, -2):
        if rows % size == 0:
            yield RowOrder(size, 2)
            if size > 4:
                yield RowOrder(size, size // 2)


def same_rows(target: torch.Tensor, other: torch.Tensor) -> tuple[int, ...] | None:
    """For each row of `target` (R, k) the most similar of `other` (R, k); None unless each is taken once."""
    found = (normalised(target) @ normalised(other).T).argmax(1).tolist()
    return tuple(found) if len(set(found)) == len(found) else None
