"""Inner products of whole tensors, from one pass over their chunks.

Spherical methods need angles and norms of a tensor before they can merge a chunk of it. Knows nothing of
methods.
"""

import math
from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np
import torch

from adamms.merge.method import TARGET, Chunk
from adamms.merge.surveys.sums import Summation, Sums

# Between two operands' names; names do not contain it.
SEPARATOR = "\n"


def products_of_values() -> Summation:
    """A survey of each tensor: the inner products of its models' values."""
    return Summation(lambda chunk: _products(chunk.models()), "tensor")


def products_of_vectors() -> Summation:
    """A survey of each tensor: the inner products of its models' task vectors."""
    return Summation(lambda chunk: _products(chunk.task_vectors()), "tensor")


class Products:
    """What such a survey found.

    Args:
        sums: its statistics; empty if no row was counted.
    """

    def __init__(self, sums: object) -> None:
        assert isinstance(sums, Sums)
        self.of = sums.of

    def norm(self, name: str) -> float:
        return math.sqrt(self.of.get(f"{name}{SEPARATOR}{name}", 0.0))

    def cosine(self, one: str, other: str) -> float:
        """The cosine of the angle between two operands, in [-1, 1]; 0 if one of them is zero."""
        scale = self.norm(one) * self.norm(other)
        if not scale:
            return 0.0
        pairs = (f"{one}{SEPARATOR}{other}", f"{other}{SEPARATOR}{one}")
        (inner,) = (self.of[pair] for pair in dict.fromkeys(pairs) if pair in self.of)
        return min(1.0, max(-1.0, inner / scale))


def row_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The inner product of each row (of dimension 0) with the same row of the other tensor: shape (rows,)."""
    products = (left * right).reshape(len(left), -1).cpu().numpy()
    return torch.from_numpy(np.add.reduce(products, axis=1)).to(left.device)


def row_cosines(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The cosine of each row (of dimension 0) with the same row of the other: shape (rows,), 0 of zeros."""
    scale = row_products(left, left).sqrt_() * row_products(right, right).sqrt_()
    return (row_products(left, right) / scale).nan_to_num_(nan=0.0).clamp_(-1, 1)


def combined(chunk: Chunk, weights: Mapping[str, float]) -> torch.Tensor:
    """The sum of weight * model over the models with a weight; overwrites the operands."""
    merged = chunk.target.mul_(weights.get(TARGET, 0.0))
    for name, donor in chunk.donors.items():
        if weights.get(name, 0.0):
            merged.add_(donor.mul_(weights[name]))
    return merged


def _products(models: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        f"{one}{SEPARATOR}{other}": left * right
        for (one, left), (other, right) in combinations_with_replacement(models.items(), 2)
    }
