"""TIES-Merging: trim small entries of the task vectors, elect signs, merge what agrees.

    tau_m   = theta_m - theta_ancestor                             m = target and donors
    tau'_m  = tau_m where |tau_m| >= t_m, else 0                   t_m: magnitude of the k-th largest
    sign    = sign of sum_m tau'_m
    theta   = theta_ancestor + scaling * sum or mean of w_m * tau'_m over the m whose sign agrees

w: 1 - sum of alpha for the target, alpha for each donor. Source: TIES-Merging (arXiv:2306.01708),
section 3 and its code, which AdaMMS' scripts use.

AdaMMS' scripts, `merge=ties`: t_m is taken over all merged tensors as one vector (scope model), with k =
floor(d * density) + 1 of d entries. Where the vectors cancel, the majority sign of all entries is taken
(election majority). All models are summed with factor 1: alpha 0.5 and scaling 2 with one donor.

mergekit's defaults, `merge=ties_mergekit`: each tensor is trimmed on its own (scope tensor), with k =
floor(d * density), here at least 1. The sign is that of the sum of the vectors times their weights, where 0
counts as positive (election weighted). The sum is divided by the weights that agree (combine mean), and
scaling is 1.

All entries that equal t_m are kept; mergekit keeps exactly k, and its sort decides which of equal ones.
Infinities and NaNs have no rank: they are not trimmed and pass on. In the scripts, a K of 1 or more means
percent (their default for LLaVA and mPLUG-Owl2, 1.0, keeps 1%); here density is always a share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import FiniteFloat

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.election import Combine, Election, Majority, MajorityVote
from adamms.merge.method import Densities, Statistics, Survey, distinct, of_model
from adamms.merge.surveys.survey import Then
from adamms.merge.surveys.thresholds import Ranking, Thresholds
from adamms.merge.task_vectors import TaskVectors


@dataclass(frozen=True)
class Ties(CombiningMethod):
    """Trim, elect, merge.

    Args:
        density: the share of entries that is kept of every task vector; or model -> its own, and of others
            all.
        scaling: factor of the merged task vector.
        scope: what the share and the majority sign are taken over.
        combine: `sum` or `mean` of the entries that agree.
        election: how the sign is found; see `election`.
    """

    density: Densities
    scaling: FiniteFloat
    scope: Literal["model", "tensor"]
    combine: Combine
    election: Election

    name: ClassVar[str] = "ties"
    formula: ClassVar[str] = (
        "ancestor + scaling * sum of share * trimmed (model - ancestor), where signs agree"
    )
    elementwise: ClassVar[bool] = True
    # Also at alpha 0, the target's vector is trimmed and the donors take part in the election.
    neutral: ClassVar[tuple[str, ...] | None] = None

    def survey(self) -> Survey | None:
        trims = distinct(self.density)[0] < 1
        ranking = Ranking(TaskVectors(), self._ranks, self.scope) if trims else None
        if self.election == "weighted":
            return ranking
        if ranking is None:
            return MajorityVote(TaskVectors(), None, self.scope)
        return Then(ranking, self._vote)

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        majority = statistics.sign if isinstance(statistics, Majority) else 0
        vectors = self._trimmed(statistics.before if isinstance(statistics, Majority) else statistics)
        return Combination(shares, vectors, self.scaling, self.election, self.combine, majority)

    def _vote(self, thresholds: Thresholds) -> MajorityVote:
        return MajorityVote(self._trimmed(thresholds), thresholds, self.scope)

    def _ranks(self, count: int) -> tuple[int, ...]:
        """The rank of the least magnitude that is kept, for each density."""
        kept = [int(count * density) for density in distinct(self.density)]
        return tuple(k + 1 if self.scope == "model" else max(k, 1) for k in kept)

    def _trimmed(self, thresholds: object) -> TaskVectors:
        """The task vectors; entries below the thresholds are 0 if there are thresholds."""
        if not isinstance(thresholds, Thresholds):
            return TaskVectors()
        densities, least = distinct(self.density), {}
        for name, found in thresholds.of.items():
            # One only where no value is finite.
            least[name] = found[densities.index(of_model(self.density, name)) if len(found) > 1 else 0]
        return TaskVectors(least)
