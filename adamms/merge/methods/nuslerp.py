"""NuSLERP: along the arc between two models, whichever of target and donors they are; also of task vectors.

    v = sin((1 - t) omega) / sin(omega) * v_1 + sin(t omega) / sin(omega) * v_2,     t = w_2 / (w_1 + w_2)

w: the two shares above zero among the target's (1 - sum of alpha) and the donors'. omega is the angle between
v_1 and v_2, taken as one long vector (per tensor), or row by row (dimension 0) with an angle for each.
Parallel vectors are interpolated linearly.

`nuslerp`: v_m = theta_m, theta = v. `nuslerp_task`: v_m = theta_m - ancestor, theta = ancestor + v; alpha 1
and two donors merge them around a target that is the ancestor itself, as mergekit does with a base_model.

Source: mergekit's `nuslerp`; the weights are Shoemake's ("Animating rotation with quaternion curves",
SIGGRAPH 1985). mergekit's weights are shares here. Only exactly parallel vectors count as parallel, where
`slerp` has a threshold of 0.9995; a vector of zeros is at a right angle to all, so the other one is not
scaled by its share, but by the sine. mergekit's `nuslerp_flatten: false` is `per=row`; its `nuslerp_row_wise:
true`, which takes columns, is not here. Inner products are float64 sums of rows, added exactly: one more
pass over each tensor, with `per=row` too, which needs them only for tensors of one dimension.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from adamms.errors import AdammsError
from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import Chunk, Statistics
from adamms.merge.shares import positive, target_share
from adamms.merge.surveys.products import Products, products_of_values, products_of_vectors, row_cosines
from adamms.merge.surveys.sums import Summation
from adamms.merge.task_vectors import TaskVectors


@dataclass(frozen=True)
class NuSlerp(CombiningMethod):
    """Interpolation along the arc between two models.

    Args:
        per: what has an angle of its own.
    """

    per: Literal["tensor", "row"]

    name: ClassVar[str] = "nuslerp"
    formula: ClassVar[str] = "(sin((1 - t) * omega) * one + sin(t * omega) * other) / sin(omega)"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        """At alpha 0.

        Raises:
            AdammsError: more than two models with a share.
        """
        sharing = [name for name, share in coefficients.items() if share]
        if len(sharing) > (1 if target_share(coefficients) else 2):
            raise AdammsError(
                f"merge={self.name} is between two models, and these have a share beside the target: "
                f"{', '.join(sharing)}. For several: merge={self.name.replace('nu', 'multi')}"
            )
        return not sharing

    def survey(self) -> Summation:
        return products_of_vectors() if self.needs_ancestor else products_of_values()

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        """The formula where the tensor has one angle."""
        names, factors = list(positive(shares)), [1.0]
        if len(names) > 1:
            cosine = Products(statistics).cosine(names[0], names[1])
            factors = list(_on_the_arc(cosine, _place(shares)))
        weights = dict(zip(names, factors, strict=True))
        return Combination(weights, TaskVectors() if self.needs_ancestor else None)

    def by_row(self, chunk: Chunk) -> bool:
        return self.per == "row" and len(chunk.shape) > 1 and len(chunk.positive_shares) > 1

    def merge_rows(self, chunk: Chunk) -> torch.Tensor:
        every = chunk.task_vectors() if self.needs_ancestor else chunk.models()
        one, other = (every[name] for name in chunk.positive_shares)
        t = _place(chunk.shares)
        factors = [_on_the_arc(cosine, t) for cosine in row_cosines(one, other).tolist()]
        found = torch.tensor(factors, dtype=torch.float64).to(one.device)
        own, theirs = found.T.reshape(2, -1, *[1] * (one.dim() - 1))
        merged = one.mul_(own).add_(other.mul_(theirs))
        return merged.add_(chunk.base()) if self.needs_ancestor else merged


@dataclass(frozen=True)
class NuSlerpTask(NuSlerp):
    """The same of the task vectors."""

    name: ClassVar[str] = "nuslerp_task"
    formula: ClassVar[str] = "ancestor + the point t of the arc between two models' changes"
    needs_ancestor: ClassVar[bool] = True


def _place(shares: Mapping[str, float]) -> float:
    """t: where the result is between the two models with a share."""
    first, second = positive(shares).values()
    return second / (first + second)


def _on_the_arc(cosine: float, t: float) -> tuple[float, float]:
    """The factors of both vectors at the point t between them."""
    if abs(cosine) == 1:
        return 1 - t, t
    omega = math.acos(cosine)
    return math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
