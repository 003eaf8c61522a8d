"""SCE: select what differs most between the models, calculate a coefficient per tensor, erase minorities.

    delta_m = tau_m where Var_m(tau) >= v, else 0                        (select)
    eta_m = w_m * sum(delta_m ** 2) / sum_n (w_n * sum(delta_n ** 2))     (calculate)
    delta_m = 0 where its sign is not that of sum_n w_n delta_n           (erase)
    theta = ancestor + scaling * sum_m eta_m delta_m  [/ sum of the eta_m that agree]

m, n = the target and the donors, w their shares, tau_m = theta_m - ancestor. Var is the population
variance over the models of one slot; v is chosen per tensor such that the `density` share (to the nearest
whole number) of the elements with a variance above 0 is selected. One eta for each tensor, whatever its
shape (vectors, matrices and embeddings alike).

Source: FuseChat (arXiv:2408.07990), section 3.3, and mergekit's `sce`, which its authors contributed; its
`select_topk` is `density`. The paper has no weights: equal shares, alpha = n / (n + 1) for n donors.
`fuse=sum` adds eta_m delta_m as the paper writes it; `fuse=mean` divides by the coefficients of the models
that agree, as mergekit does.

Differences: all elements that equal v are selected (mergekit cuts through equal variances by position).
Where one model has all the share, nothing is selected out, so that alpha = 1 gives the donor. Models that
are all equal have no variance: with a density below 1 nothing of them is selected, as in mergekit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar, Literal, Self

import torch

from adamms.errors import check_choice
from adamms.merge.method import Chunk, Statistics
from adamms.merge.products import row_products
from adamms.merge.ranges import check_between
from adamms.merge.ranks import RanksOfTensor, Thresholds
from adamms.merge.vectors import consensus, weighted_task_vectors

# What is ranked: the variance over the models.
VARIANCE = "variance"


@dataclass(frozen=True)
class Sce:
    """Select by variance, weigh by squares, erase by sign.

    Args:
        density: the share of the elements that differ which is selected, in [0, 1].
        fuse: `mean` or `sum` of the models that agree.
        scaling: what the merged task vector is multiplied with.
    """

    density: float = 1.0
    fuse: str = "mean"
    scaling: float = 1.0

    name: ClassVar[str] = "sce"
    formula: ClassVar[str] = "ancestor + scaling * consensus of (eta * (model - ancestor)), eta ~ w * squares"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_between("merge.method.density", self.density, 0, 1)
        check_between("merge.method.scaling", self.scaling, -float("inf"), float("inf"))
        check_choice("merge.method.fuse", self.fuse, ("mean", "sum"))

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return not any(coefficients.values())

    def survey(self) -> "RanksOfTensor | SelectedSquares":
        if self.density == 1:
            return SelectedSquares(-1.0)

        def ranks(elements: int, nonzero: int) -> tuple[int]:
            return (round(self.density * nonzero),)

        def squares(found: Thresholds) -> SelectedSquares:
            ((threshold,),) = found.values.values() if found.values else ((-1.0,),)
            return SelectedSquares(threshold)

        return RanksOfTensor(_variances, ranks, squares)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        assert isinstance(chunk.statistics, Squares)
        found, vectors = chunk.statistics, weighted_task_vectors(chunk)
        if len(vectors) == 1:
            return chunk.base().add_(vectors[0].tau.mul_(self.scaling))
        if self.density < 1:
            selected = _variance(chunk.models()) >= found.threshold
            for vector in vectors:
                vector.tau.mul_(selected)
        weights = [vector.share * found.sums.get(vector.model, 0.0) for vector in vectors]
        total = math.fsum(weights)
        if not total:
            return chunk.base()
        merged = consensus(vectors, self.fuse == "mean", [weight / total for weight in weights])
        return chunk.base().add_(merged.mul_(self.scaling))


@dataclass(frozen=True)
class Squares(Statistics):
    """The variance from which on elements are selected; model -> the sum of its squares of those."""

    threshold: float
    sums: Mapping[str, float]


@dataclass
class SquaresOfRows:
    """Sums over rows, which are added exactly: in any order to the same."""

    threshold: float
    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        vectors = chunk.task_vectors()
        selected = _variance(vectors) >= self.threshold
        for model, tau in vectors.items():
            tau.mul_(selected)
            self.rows.setdefault(model, []).extend(row_products(tau, tau).tolist())

    def __iadd__(self, other: Self) -> Self:
        for model, found in other.rows.items():
            self.rows.setdefault(model, []).extend(found)
        return self


@dataclass(frozen=True)
class SelectedSquares:
    """The survey's last pass, over the elements with at least this variance."""

    threshold: float
    scope: ClassVar[Literal["model", "tensor"]] = "tensor"

    def empty(self) -> SquaresOfRows:
        return SquaresOfRows(self.threshold)

    def conclude(self, found: SquaresOfRows) -> Squares:
        return Squares(self.threshold, {model: math.fsum(rows) for model, rows in found.rows.items()})


def _variances(chunk: Chunk) -> dict[str, torch.Tensor]:
    return {VARIANCE: _variance(chunk.task_vectors())}


def _variance(vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Over the models, from the differences between them: exactly 0 where all are equal."""
    total: torch.Tensor | None = None
    for one, other in combinations(vectors.values(), 2):
        square = (one - other).square_()
        total = square if total is None else total.add_(square)
    assert total is not None, "a slot that is merged has a donor"
    return total.div_(len(vectors) ** 2)
