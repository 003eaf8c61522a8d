"""DARE with TIES' election: drop entries at random, rescale, elect signs, merge what agrees.

    tau'_m = tau_m / density with probability density, else 0      m = target and donors
    sign   = sign of sum_m tau'_m
    theta  = theta_ancestor + scaling * sum or mean of w_m * tau'_m over the m whose sign agrees

w: 1 - sum of alpha for the target, alpha for each donor. Sources: arXiv:2311.03099, section 3, and
TIES-Merging (arXiv:2306.01708), section 3.

AdaMMS' scripts sum every model with factor 1: alpha 0.5, scaling 2 with one donor, the default; where the
vectors cancel they take the majority sign of all entries of the model. mergekit's `dare_ties`:
election=weighted, combine=sum, `weight` is scaling times the share. The random numbers are as in
`dare_linear`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from adamms.errors import check_choice
from adamms.merge.election import (
    COMBINES,
    ELECTIONS,
    Combine,
    Election,
    Majority,
    MajorityVote,
    merge_agreeing,
)
from adamms.merge.method import Chunk, Survey
from adamms.merge.methods.dare_linear import thinned
from adamms.merge.parameters import check_density, check_number


@dataclass(frozen=True)
class DareTies:
    """Drop at random, rescale, elect, merge.

    Args:
        density: the probability that an entry is kept.
        scaling: factor of the merged task vector.
        scope: where the majority is asked for: the model, or each tensor.
        combine: of the entries that agree.
        election: of the sign.
        seed: of the random numbers.

    Raises:
        AdammsError: a value that is none of these.
    """

    density: float = 0.5
    scaling: float = 2.0
    scope: Literal["model", "tensor"] = "model"
    combine: Combine = "sum"
    election: Election = "majority"
    seed: int = 0

    name: ClassVar[str] = "dare_ties"
    formula: ClassVar[str] = (
        "ancestor + scaling * sum of share * thinned (model - ancestor) / density, where signs agree"
    )
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_density(self.density)
        check_number("merge.scaling", self.scaling)
        check_choice("merge.scope", self.scope, ("model", "tensor"))
        check_choice("merge.combine", self.combine, COMBINES)
        check_choice("merge.election", self.election, ELECTIONS)

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        # At alpha 0, too, the target's vector is thinned, and the donors have a say in the election.
        return False

    def survey(self) -> Survey | None:
        return None if self.election == "weighted" else MajorityVote(self._vectors, None, self.scope)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        majority = chunk.statistics.sign if isinstance(chunk.statistics, Majority) else 0
        merged = merge_agreeing(self._vectors(chunk), chunk.shares, self.election, self.combine, majority)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _vectors(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        return thinned(chunk, self.density, self.seed)
