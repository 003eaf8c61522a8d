"""DARE with TIES' election: drop entries at random, rescale, elect signs, merge what agrees.

    tau'_m = tau_m / density with probability density, else 0      m = target and donors
    sign   = sign of sum_m tau'_m
    theta  = theta_ancestor + scaling * sum or mean of w_m * tau'_m over the m whose sign agrees

w: 1 - sum of alpha for the target, alpha for each donor. Sources: arXiv:2311.03099, section 3, and
TIES-Merging (arXiv:2306.01708), section 3.

AdaMMS' scripts sum all models with factor 1: alpha 0.5 and scaling 2 with one donor. Where the vectors
cancel, they take the majority sign of all entries of the model. mergekit's `dare_ties` is election=weighted
and combine=sum; its `weight` is scaling times the share. The random numbers are those of `dare_linear`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import FiniteFloat

from adamms.merge.election import Combine, Election, Majority, MajorityVote, merge_agreeing
from adamms.merge.method import Chunk, Densities, Method, Survey
from adamms.merge.methods.dare_linear import thinned


@dataclass(frozen=True)
class DareTies(Method):
    """Drop at random, rescale, elect, merge.

    Args:
        density: the probability that an entry is kept; or model -> its own, and of others all are.
        scaling: factor of the merged task vector.
        scope: what the majority sign is taken over.
        combine: `sum` or `mean` of the entries that agree.
        election: how the sign is found; see `election`.
        seed: of the random numbers.
    """

    density: Densities
    scaling: FiniteFloat
    scope: Literal["model", "tensor"]
    combine: Combine
    election: Election
    seed: int

    name: ClassVar[str] = "dare_ties"
    formula: ClassVar[str] = (
        "ancestor + scaling * sum of share * thinned (model - ancestor) / density, where signs agree"
    )
    elementwise: ClassVar[bool] = True
    # Also at alpha 0, the target's vector is thinned and the donors take part in the election.
    neutral: ClassVar[tuple[str, ...] | None] = None

    def survey(self) -> Survey | None:
        return None if self.election == "weighted" else MajorityVote(self._vectors, None, self.scope)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        majority = chunk.statistics.sign if isinstance(chunk.statistics, Majority) else 0
        merged = merge_agreeing(self._vectors(chunk), chunk.shares, self.election, self.combine, majority)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _vectors(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        return thinned(chunk, self.density, self.seed)
