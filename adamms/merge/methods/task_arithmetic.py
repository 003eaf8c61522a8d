"""Task arithmetic: the ancestor plus a weighted sum of task vectors.

    tau_m = theta_m - theta_ancestor                          m = target and donors
    theta = theta_ancestor + scaling * sum_m w_m * tau_m      w = 1 - sum of alpha, and each donor's alpha

Source: Ilharco et al., "Editing models with task arithmetic" (arXiv:2212.04089), section 2.

With scaling 1 this is `linear`, up to rounding. AdaMMS' scripts take the mean of the task vectors: alpha
0.5 with one donor, and scaling 1. Ilharco et al. sum the vectors, times lambda: alpha 0.5 and scaling 2 *
lambda. In mergekit's `task_arithmetic`, `weight` is scaling times the share of each model. The scripts
compute in the stored dtypes; here the arithmetic is float64, rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import FiniteFloat

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import Statistics
from adamms.merge.task_vectors import TaskVectors


@dataclass(frozen=True)
class TaskArithmetic(CombiningMethod):
    """Weighted sum of task vectors.

    Args:
        scaling: factor of the sum.
    """

    scaling: FiniteFloat

    name: ClassVar[str] = "task_arithmetic"
    formula: ClassVar[str] = "ancestor + scaling * sum of share * (model - ancestor)"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("scaling",)

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        return Combination(shares, TaskVectors(), self.scaling)
