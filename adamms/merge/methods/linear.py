"""Linear interpolation, the merge of AdaMMS.

    theta = (1 - sum_d alpha_d) * theta_target + sum_d alpha_d * f(theta_donor_d)

Source: AdaMMS (arXiv:2503.23733), section 3.2; with one donor its equation. The authors' scripts
compute in the stored 16-bit dtypes, rounding each operand after scaling; here the sum is float64
and rounded once. mergekit's `linear` normalises weights over all models; there `weight` = alpha for
the donor and 1 - alpha for the target gives the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import TARGET, Statistics


@dataclass(frozen=True)
class Linear(CombiningMethod):
    """Interpolation between the target (alpha 0) and the donor (alpha 1)."""

    name: ClassVar[str] = "linear"
    formula: ClassVar[str] = "(1 - alpha) * target + alpha * donor"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        rest = 1 - sum(shares.values())  # below 0 for a sum of mergekit's whose target has a negative weight
        return Combination(shares if rest > -1e-6 else {**shares, TARGET: rest})
