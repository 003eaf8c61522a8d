"""SCE: select what differs most between the models, calculate a coefficient per tensor, erase minorities.

    delta_m = tau_m where Var_m(tau) >= v, else 0                        (select)
    eta_m = w_m * sum(delta_m ** 2) / sum_n (w_n * sum(delta_n ** 2))     (calculate)
    delta_m = 0 where its sign is not that of sum_n w_n delta_n           (erase)
    theta = ancestor + scaling * sum_m eta_m delta_m  [/ sum of the eta_m that agree]

m, n = the target and the donors, w their shares, tau_m = theta_m - ancestor. Var is the population
variance over the models of one slot. Per tensor, v is such that the `density` share (to the nearest whole
number) of the elements with a variance above 0 is selected. Each tensor has one eta, whatever its shape.

Source: FuseChat (arXiv:2408.07990), and mergekit's `sce`, whose `select_topk` is `density`. The paper has no
weights: equal shares, alpha = n / (n + 1) for n donors. `combine=sum` adds eta_m delta_m as the paper
writes it; `combine=mean` divides by the coefficients of the models that agree, as mergekit does.

Differences: all elements that equal v are selected; mergekit cuts through equal variances by position.
Where one model has all the share, all elements are selected, so that alpha = 1 gives the donor. Equal models
have no variance: with a density below 1 nothing of them is selected, as in mergekit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import ClassVar

import torch
from pydantic import FiniteFloat

from adamms.merge.election import Combine, merge_agreeing, weighted_sum
from adamms.merge.exactness import divide_
from adamms.merge.method import TARGET, Chunk, Density, Method, Survey
from adamms.merge.surveys.sums import Summation, Sums
from adamms.merge.surveys.survey import Then
from adamms.merge.surveys.thresholds import Ranking, Thresholds

# What is ranked: the variance over the models.
VARIANCE = "variance"
# mergekit's bound of what it divides by.
SMALL = 1e-6


@dataclass(frozen=True)
class Sce(Method):
    """Select by variance, weigh by squares, erase by sign.

    Args:
        density: the share that is selected of the elements that differ, in (0, 1]; one at least.
        combine: `mean` or `sum` of the models that agree.
        scaling: what the merged task vector is multiplied with.
    """

    density: Density
    combine: Combine
    scaling: FiniteFloat

    name: ClassVar[str] = "sce"
    formula: ClassVar[str] = "ancestor + scaling * consensus of (eta * (model - ancestor)), eta ~ w * squares"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("scaling",)
    whole: ClassVar[bool] = True  # all of a model that has all the share is selected

    def survey(self) -> Survey:
        if self.density == 1:
            return self._squares_from(Thresholds({VARIANCE: (0.0,)}))
        return Then(Ranking(self._ranked, self._ranks, "tensor"), self._squares_from)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        found, vectors, shares = chunk.statistics, chunk.sharing_vectors(), chunk.positive_shares
        assert isinstance(found, Sums)
        assert isinstance(found.before, Thresholds)
        if len(vectors) == 1 and self.whole:
            return weighted_sum(vectors, shares).mul_(self.scaling).add_(chunk.base())
        if least := _least(found.before):
            selected = self._variance(chunk.models()) >= least
            for tau in vectors.values():
                tau.mul_(selected)
        weights = self._weights(chunk, found.of)
        if not weights:
            return chunk.base()
        merged = merge_agreeing(vectors, shares, "weighted", self.combine, weights=weights)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _weights(self, chunk: Chunk, squares: Mapping[str, float]) -> dict[str, float]:
        """Model -> its coefficient; none where nothing is selected."""
        weights = {model: share * squares.get(model, 0.0) for model, share in chunk.positive_shares.items()}
        total = math.fsum(weights.values())
        return {model: weight / total for model, weight in weights.items()} if total else {}

    def _ranks(self, differ: int) -> tuple[int, ...]:
        return (max(1, round(self.density * differ)),)

    def _squares_from(self, selection: Thresholds) -> Summation:
        """The last pass of the survey: sums of squares of the elements with at least this variance."""
        return Summation(partial(self._squares, _least(selection)), "tensor", selection)

    def _squares(self, least: float, chunk: Chunk) -> dict[str, torch.Tensor]:
        vectors = chunk.task_vectors()
        selected = self._variance(vectors) >= least
        return {model: tau.square_().mul_(selected) for model, tau in vectors.items()}

    def _ranked(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        variance = self._variance(chunk.task_vectors())
        return {VARIANCE: variance[variance > 0]}

    def _variance(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return _variance([*vectors.values()])


@dataclass(frozen=True)
class SceOfDonors(Sce):
    """The same where the target is the ancestor, so no model, as mergekit computes it.

    Counts are rounded down, also to 0. With a density below 1 nothing of a model alone is selected. All
    coefficients are equal where their squares are small: where their means, over all elements of a tensor,
    add up to less than `SMALL`, as those of fine-tuned models often do.
    """

    whole: ClassVar[bool] = False

    def _weights(self, chunk: Chunk, squares: Mapping[str, float]) -> dict[str, float]:
        shares = chunk.positive_shares
        mean = math.fsum(squares.get(model, 0.0) for model in shares) / math.prod(chunk.shape)
        return dict.fromkeys(shares, 1 / len(shares)) if mean < SMALL else super()._weights(chunk, squares)

    def _ranks(self, differ: int) -> tuple[int, ...]:
        count = int(self.density * differ)
        return (count,) if count else ()

    def _variance(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return _variance([vector for name, vector in vectors.items() if name != TARGET])


def _least(selection: Thresholds) -> float:
    """The least variance that is selected."""
    # There is no value if all rows of the tensor stay the target's; then nothing is selected.
    (least,) = selection.of.get(VARIANCE) or (math.inf,)
    return least


def _variance(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Over the models, from the differences between them: exactly 0 where all are equal."""
    total = torch.zeros_like(vectors[0])
    for one, other in combinations(vectors, 2):
        total.add_((one - other).square_())
    return divide_(total, len(vectors) ** 2)
