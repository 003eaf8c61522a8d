"""NAN (norm-aware merging): each model weighs by the inverse of the norm of its parameters.

    w_m = (share_m / rms_m) / sum_j (share_j / rms_j)        m, j = target and donors
    rms_m = square root of the mean square of m's values, over all that is merged

Source: Si et al., "NAN: A Training-Free Solution to Coefficient Estimation in Model Merging"
(arXiv:2505.16148, abstract): coefficients by the inverse of the norm of a model's parameters. Here they are
made to add up to 1. NAN has no alpha, which is equal shares here: alpha 0.5 with one donor, 2/3 with two.
Another alpha leans towards one side, so that a search has an axis.

The norm (Frobenius) is divided by the square root of the number of values: between models that have all
tensors nothing changes, and a donor that lacks some is not taken for a small one. Infinities and NaNs do not
count.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from adamms.errors import AdammsError
from adamms.mapping.plan import Slot
from adamms.merge.method import TARGET, Chunk, Statistics, Survey
from adamms.merge.rules import Shares
from adamms.merge.schedule import Schedule
from adamms.merge.surveys.sums import Summation, Sums

# After a model's name, the sum of its values that count.
COUNT = "\ncount"


@dataclass(frozen=True)
class Norms(Schedule):
    """Shares by the inverse norm of each model."""

    name: ClassVar[str] = "norms"
    formula: ClassVar[str] = "models weigh by share / norm of their parameters"

    def survey(self) -> Survey:
        return Summation(_squares_and_counts)

    def shares(self, slot: Slot, layers: int, shares: Shares, found: Statistics | None) -> dict[str, float]:
        if not isinstance(found, Sums):
            raise AdammsError("merge.schedule has to survey the models first: merges.measured()")
        all_shares = {TARGET: max(0.0, 1 - math.fsum(shares.values())), **shares}
        weights = {name: share / _rms(name, found) for name, share in all_shares.items() if share}
        total = math.fsum(weights.values())
        return {name: weights.get(name, 0.0) / total for name in shares}


def _squares_and_counts(chunk: Chunk) -> dict[str, torch.Tensor]:
    """Each model's squared values and how many are finite. Overwrites the chunk."""
    terms = {}
    for name, values in chunk.models().items():
        terms[name + COUNT] = torch.isfinite(values).to(values.dtype)
        terms[name] = values.square_()
    return terms


def _rms(name: str, found: Sums) -> float:
    """The root mean square of a model's values.

    Raises:
        AdammsError: it is zero, or there are none.
    """
    square, count = found.of.get(name, 0.0), found.of.get(name + COUNT, 0.0)
    if not square:
        raise AdammsError(
            f"merge.schedule weighs models by the inverse norm of their parameters, and that of {name} is 0: "
            f"it has no finite value but 0 in what is merged; merge/schedule=none goes by alpha alone"
        )
    return math.sqrt(square / count)
