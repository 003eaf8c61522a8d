"""Inner products of whole tensors, from one pass over their chunks.

Angles and norms of a tensor are all that spherical methods must know of it before they can merge a
chunk. Knows nothing of methods.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import ClassVar, Literal, Self

import torch

from adamms.merge.method import Chunk, Statistics


@dataclass(frozen=True)
class Products(Statistics):
    """Sums over one tensor's elements: (operand, operand) -> inner product, both ways round."""

    sums: Mapping[tuple[str, str], float]

    def of(self, one: str, other: str) -> float:
        """The inner product of two operands; 0 if no row was counted."""
        return self.sums.get((one, other), self.sums.get((other, one), 0.0))

    def norm(self, name: str) -> float:
        return math.sqrt(self.of(name, name))

    def cosine(self, one: str, other: str) -> float:
        """Of the angle between two operands, in [-1, 1]; 0 if one of them is zero."""
        scale = self.norm(one) * self.norm(other)
        return min(1.0, max(-1.0, self.of(one, other) / scale)) if scale else 0.0


@dataclass
class RowProducts:
    """Inner products of rows; they are added exactly, so that the order of the chunks does not matter."""

    task_vectors: bool
    rows: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        models = chunk.task_vectors() if self.task_vectors else chunk.models()
        for (one, left), (other, right) in combinations_with_replacement(models.items(), 2):
            self.rows.setdefault((one, other), []).extend(row_products(left, right).tolist())

    def __iadd__(self, other: Self) -> Self:
        for pair, found in other.rows.items():
            self.rows.setdefault(pair, []).extend(found)
        return self


@dataclass(frozen=True)
class ProductsOfTensor:
    """The survey: one pass over each tensor.

    Args:
        task_vectors: of the operands less the ancestor, not of the operands.
    """

    task_vectors: bool
    scope: ClassVar[Literal["model", "tensor"]] = "tensor"

    def empty(self) -> RowProducts:
        return RowProducts(self.task_vectors)

    def conclude(self, found: RowProducts) -> Products:
        return Products({pair: math.fsum(sums) for pair, sums in found.rows.items()})


def row_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The inner product of each row (of dimension 0) with the other tensor's same row: shape (rows,)."""
    return (left * right).reshape(len(left), -1).sum(dim=1)


def combined(chunk: Chunk, weights: Mapping[str, float]) -> torch.Tensor:
    """The sum of weight * model over the models that have a weight; overwrites the chunk's target."""
    merged = chunk.target.mul_(weights.get("target", 0.0))
    for name, donor in chunk.donors.items():
        if weights.get(name, 0.0):
            merged.add_(donor.mul_(weights[name]))
    return merged
