"""Spherical linear interpolation between the target and one donor, tensor by tensor.

    theta = sin((1 - t) omega) / sin(omega) * target + sin(t omega) / sin(omega) * donor,   t = alpha

omega is the angle between the two tensors, each taken as one long vector, whatever its shape. The weights are
those of Shoemake's slerp ("Animating rotation with quaternion curves", SIGGRAPH 1985), applied to the tensors
themselves instead of unit vectors. No ancestor is needed.

Where |cos(omega)| is above `parallel`, or a tensor is zero, the result is linear interpolation. This holds
for most tensors of models with one ancestor. mergekit's `slerp` has the same formula with 0.9995, in float32;
`merge.alpha` is its `t`. Here the inner products are float64 sums of rows, added exactly, so that the result
does not depend on chunks. Where the cosine is within float32 rounding of `parallel`, mergekit may decide
otherwise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Lt

from adamms.errors import AdammsError
from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import TARGET, Statistics
from adamms.merge.surveys.products import Products, products_of_values, weighted_models
from adamms.merge.surveys.sums import Summation


@dataclass(frozen=True)
class Slerp(CombiningMethod):
    """Interpolation along the arc from the target (alpha 0) to the donor (alpha 1).

    Args:
        parallel: tensors whose |cosine| is above it are interpolated linearly.
    """

    parallel: Annotated[float, Gt(0), Lt(1)]

    name: ClassVar[str] = "slerp"
    formula: ClassVar[str] = "(sin((1 - alpha) * omega) * target + sin(alpha * omega) * donor) / sin(omega)"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        """At alpha 0.

        Raises:
            AdammsError: several donors.
        """
        if len(coefficients) > 1:
            raise AdammsError(
                f"merge=slerp is between the target and one donor, and there are {len(coefficients)}: "
                f"{', '.join(coefficients)}. For several: merge=karcher"
            )
        return not any(coefficients.values())

    def survey(self) -> Summation:
        return products_of_values()

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        ((donor, t),) = ((name, share) for name, share in shares.items() if name != TARGET)
        own, others = self.weights(Products(statistics), donor, t)
        return weighted_models({TARGET: own, donor: others})

    def weights(self, found: Products, donor: str, t: float) -> tuple[float, float]:
        """The factors of the target and of the donor."""
        cosine = found.cosine(TARGET, donor)
        if not found.norm(TARGET) or not found.norm(donor) or abs(cosine) > self.parallel:
            return 1 - t, t
        omega = math.acos(cosine)
        return math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
