"""RAM and RAM+: what one model alone changed is kept in full, what several changed is averaged.

    tau_m   = theta_m - ancestor; model m changed an element where |tau_m| > epsilon
    nobody changed it:  theta = ancestor
    model m alone:      theta = ancestor + scaling * lambda_m * u_m * tau_m
    several models:     theta = ancestor + scaling * sum_m u_m tau_m / sum_m u_m,  over those that changed it
    lambda_m = 1 + boost * min(bound, shared_m / alone_m),   u_m = w_m / the largest of the shares w

m = target and donors; shared_m and alone_m are how many elements m changed together with others and alone, in
the model or (scope tensor) in each tensor.

Source: Yuan et al., "Behavior Knowledge Merge in Reinforced Agentic Models" (arXiv:2601.13572): its
abstract, the authors' code, and mergekit's `ram` and `ramplus_tl`. RAM is boost=0. RAM+ has r and alpha,
here `boost` (0.1 in mergekit, 0.2 in the authors' example) and `bound` (0.2 in mergekit, 1 in the authors'
code). Mergekit counts per tensor, the authors in the model; its lambda_m is a float32 (`RamInFloat32`). They
have no weights: equal shares, alpha = n / (n + 1) for n donors, at which every u is 1. A model has changed an
element whatever its share, so that shares can be searched without counting again.

It is meant for the sparse changes of reinforcement learning; where all models changed everything it is task
arithmetic. An infinite or NaN element counts as changed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from pydantic import FiniteFloat

from adamms.merge.method import Chunk, Method, Survey
from adamms.merge.surveys.sums import Summation, Sums

# After a model's name: how many elements it changed alone, and together with others.
ALONE, SHARED = "\nalone", "\nshared"


@dataclass(frozen=True)
class Ram(Method):
    """Average what is shared, keep what is not.

    Args:
        epsilon: up to this difference from the ancestor an element counts as unchanged.
        boost: how much more what is changed alone counts, per element that is shared.
        bound: the most shared elements per element changed alone that count.
        scope: where these are counted.
        scaling: what the merged task vector is multiplied with.
    """

    epsilon: Annotated[float, Ge(0), Le(1)]
    boost: Annotated[FiniteFloat, Ge(0)]
    bound: Annotated[FiniteFloat, Ge(0)]
    scope: Literal["model", "tensor"]
    scaling: FiniteFloat

    name: ClassVar[str] = "ram"
    formula: ClassVar[str] = (
        "ancestor + scaling * (changes of one model in full, the mean of those of several)"
    )
    elementwise: ClassVar[bool] = True

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        exact = self.epsilon == self.boost == 0 and self.scaling == 1
        return exact and not any(coefficients.values())

    def survey(self) -> Survey | None:
        return Summation(partial(_counts, self.epsilon), self.scope) if self.boost else None

    def merge(self, chunk: Chunk) -> torch.Tensor:
        shares, vectors = chunk.shares, chunk.task_vectors()
        largest = max(shares.values())
        alone, shared, weight, count = (torch.zeros_like(chunk.target) for _ in range(4))
        for name, mask in _changed(vectors, self.epsilon).items():
            count.add_(mask)
            if part := shares[name] / largest:
                vector = vectors[name].mul_(mask).mul_(part)
                shared.add_(vector)
                alone.add_(vector.mul_(self._lambda(name, chunk)))
                weight.add_(mask.mul_(part))
        shared.div_(weight.masked_fill_(weight == 0, 1.0))
        merged = torch.where(count > 1, shared, alone)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _lambda(self, name: str, chunk: Chunk) -> float:
        """What the changes of one model alone are multiplied with."""
        if not self.boost:
            return 1.0
        assert isinstance(chunk.statistics, Sums)
        alone, shared = (chunk.statistics.of.get(name + kind, 0.0) for kind in (ALONE, SHARED))
        return self._boosted(shared / alone if alone else math.inf)

    def _boosted(self, ratio: float) -> float:
        return 1 + self.boost * min(self.bound, ratio)


@dataclass(frozen=True)
class RamInFloat32(Ram):
    """The same with lambda_m in float32, as mergekit computes it."""

    def _boosted(self, ratio: float) -> float:
        return float(1 + self.boost * torch.tensor(ratio, dtype=torch.float32).clamp(max=self.bound))


def _changed(vectors: Mapping[str, torch.Tensor], epsilon: float) -> dict[str, torch.Tensor]:
    """TARGET and every donor -> 1.0 where its task vector counts as a change, else 0.0."""
    return {name: (tau.abs() <= epsilon).logical_not_().to(tau.dtype) for name, tau in vectors.items()}


def _counts(epsilon: float, chunk: Chunk) -> dict[str, torch.Tensor]:
    changed = _changed(chunk.task_vectors(), epsilon)
    several = torch.zeros_like(chunk.target)
    for mask in changed.values():
        several.add_(mask)
    several = (several > 1).to(several.dtype)
    found = {}
    for name, mask in changed.items():
        found[name + SHARED] = mask * several
        found[name + ALONE] = mask.sub_(found[name + SHARED])
    return found
