"""Multi-SLERP: the models' mean direction at their mean norm, tensor by tensor; also of task vectors.

    v = sum_m w_m |v_m| * d / |d|,     d = sum_m w_m u_m,     u_m = v_m / (|v_m| + 1e-8)

m = the target and the donors, w_m their shares. Each tensor is one long vector, whatever its shape.
`multislerp`: v_m = theta_m, theta = v. `multislerp_task`: v_m = theta_m - ancestor, theta = ancestor + v.

Source: mergekit's `multislerp` (https://goddard.blog/posts/multislerp-wow-what-a-cool-idea). It projects the
u_m onto the tangent space at d / |d|, averages there, and projects back. That average is 0: sum_m w_m (u_m -
(u_m . d) d / |d|^2) = d - |d|^2 d / |d|^2. So what is left is the formula above, which is also where
`karcher` starts its iteration.

Differences: where the u_m cancel, the result is the weighted sum of the v_m; mergekit does so for two models
and stops with more. Inner products are float64 sums of rows, added exactly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import Statistics
from adamms.merge.shares import positive
from adamms.merge.surveys.products import Products, products_of_values, products_of_vectors
from adamms.merge.surveys.sums import Summation
from adamms.merge.task_vectors import TaskVectors

# mergekit's eps: below it, directions cancel; and it is added to norms.
LEAST = 1e-8


@dataclass(frozen=True)
class MultiSlerp(CombiningMethod):
    """The mean direction at the mean norm."""

    name: ClassVar[str] = "multislerp"
    formula: ClassVar[str] = "sum(w * norm(model)) * direction of sum(w * model / norm(model))"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def survey(self) -> Summation:
        return products_of_vectors() if self.needs_ancestor else products_of_values()

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        found, shares = Products(statistics), positive(shares)
        unit = {name: share / (found.norm(name) + LEAST) for name, share in shares.items()}
        length = math.sqrt(
            max(
                0.0,
                math.fsum(
                    unit[one] * unit[other] * found.norm(one) * found.norm(other) * found.cosine(one, other)
                    for one in shares
                    for other in shares
                ),
            )
        )
        if len(shares) > 1 and length >= LEAST:
            norm = math.fsum(share * found.norm(name) for name, share in shares.items())
            shares = {name: norm * part / length for name, part in unit.items()}
        return Combination(shares, TaskVectors() if self.needs_ancestor else None)


@dataclass(frozen=True)
class MultiSlerpTask(MultiSlerp):
    """The same of the task vectors."""

    name: ClassVar[str] = "multislerp_task"
    formula: ClassVar[str] = "ancestor + sum(w * norm(change)) * direction of sum(w * change / norm(change))"
    needs_ancestor: ClassVar[bool] = True
