"""Inner products of whole tensors, from one pass over their chunks.

Spherical methods need angles and norms of a tensor before they can merge a chunk of it. Knows nothing of
methods.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import torch

from adamms.merge import kernel
from adamms.merge.combination import Combination
from adamms.merge.method import TARGET, Chunk
from adamms.merge.surveys.sums import Summation, Sums

# Between two operands' names; names do not contain it.
SEPARATOR = "\n"


@dataclass(frozen=True)
class PairProducts:
    """Chunk -> every two models, also one with itself -> the products of their elements.

    Args:
        vectors: of the task vectors, which overwrite the chunk; else of the values.
    """

    vectors: bool

    def __call__(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        models = chunk.task_vectors() if self.vectors else chunk.models()
        return {name: models[one] * models[other] for name, one, other in _pairs(models)}

    def row_sums(self, chunk: Chunk) -> dict[str, npt.NDArray[np.float64]] | None:
        models, base = chunk.models(), chunk.base() if self.vectors else None
        if not kernel.fits([*models.values(), *([] if base is None else [base])]):
            return None
        found = kernel.row_products(list(models.values()), base)
        if found is None:
            return None
        return {name: found[:, place] for place, (name, *_) in enumerate(_pairs(models))}


def products_of_values() -> Summation:
    """A survey of each tensor: the inner products of its models' values."""
    return Summation(PairProducts(vectors=False), "tensor")


def products_of_vectors() -> Summation:
    """A survey of each tensor: the inner products of its models' task vectors."""
    return Summation(PairProducts(vectors=True), "tensor")


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

    def cosine(self, one: str, other: str, least: float = 0.0) -> float:
        """The cosine of the angle between two operands, in [-1, 1]; 0 if one of them is zero.

        Args:
            least: what the product of their norms counts as, if it is smaller.
        """
        scale = max(self.norm(one) * self.norm(other), least)
        if not scale:
            return 0.0
        pairs = (f"{one}{SEPARATOR}{other}", f"{other}{SEPARATOR}{one}")
        (inner,) = (self.of[pair] for pair in dict.fromkeys(pairs) if pair in self.of)
        return min(1.0, max(-1.0, inner / scale))


def row_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The inner product of each row (of dimension 0) with the same row of the other tensor: shape (rows,)."""
    products = (left * right).reshape(len(left), -1).cpu().numpy()
    return torch.from_numpy(np.add.reduce(products, axis=1)).to(left.device)


def row_cosines(left: torch.Tensor, right: torch.Tensor, least: float = 0.0) -> torch.Tensor:
    """The cosine of each row (of dimension 0) with the same row of the other: shape (rows,), 0 of zeros.

    Args:
        least: what the product of their norms counts as, if it is smaller.
    """
    scale = (row_products(left, left).sqrt_() * row_products(right, right).sqrt_()).clamp_(min=least)
    return (row_products(left, right) / scale).nan_to_num_(nan=0.0).clamp_(-1, 1)


def weighted_models(weights: Mapping[str, float]) -> Combination:
    """The sum of weight * model over the target and the donors with a weight."""
    donors = {name: weight for name, weight in weights.items() if weight and name != TARGET}
    return Combination({TARGET: weights.get(TARGET, 0.0), **donors})


def _pairs(models: Iterable[str]) -> list[tuple[str, str, str]]:
    """Name of a pair, one model, the other."""
    return [
        (f"{one}{SEPARATOR}{other}", one, other) for one, other in combinations_with_replacement(models, 2)
    ]
