"""Karcher mean: the weighted Riemannian centre of the models on a sphere, tensor by tensor.

    u = argmin over unit vectors of  sum_m w_m * angle(u, theta_m / |theta_m|)^2
    theta = (sum_m w_m |theta_m|) * u,     m = the target and the donors, w_m their shares

Each tensor is one long vector, whatever its shape. No ancestor is needed. With one donor, u is the point of
the arc at alpha, as in `slerp`; but the norm is interpolated too, and nearly parallel tensors are not a
special case.

Source: Karcher, "Riemannian center of mass and mollifier smoothing" (1977); for merging, mergekit's
`karcher` and arXiv:2603.04972. u is found by the fixed point iteration u <- exp_u(sum_m w_m log_u(u_m))
from the normalised weighted mean. All its points are combinations of the models, so the iteration runs on
their coefficients and on the models' inner products. The tensors are read once for the products and once
for the result, in chunks.

Differences: mergekit gives all models equal weight (here: alpha = n / (n + 1) for n donors), computes in
the stored dtype, and has a tolerance of 1e-5 in 10 steps, which shows. Models of zero norm count in the norm
and not in the direction; in mergekit so do those of a norm up to its tolerance. From u, a model opposite to
it lies in no particular direction, so that step leaves it out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from pydantic import PositiveInt

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import Chunk, Statistics
from adamms.merge.shares import positive
from adamms.merge.surveys.products import Products, products_of_values, weighted_models
from adamms.merge.surveys.sums import Summation

# 1 + cosine of a model that counts as opposite to the mean.
OPPOSITE = 1e-12


@dataclass(frozen=True)
class Karcher(CombiningMethod):
    """The mean on the sphere, at the mean norm.

    Args:
        steps: of the iteration, at most.
        tolerance: an angle in radians. It ends before a shorter step; models that are nearer pull no more.
    """

    steps: PositiveInt
    tolerance: Annotated[float, Ge(0), Le(1)]

    name: ClassVar[str] = "karcher"
    formula: ClassVar[str] = "sum(w * norm(model)) * (weighted mean of the models' directions on the sphere)"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False
    since: ClassVar[str] = "0.10.0"

    def survey(self) -> Summation:
        return products_of_values()

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        found, shares = Products(statistics), positive(shares)
        directed = _directed(shares, statistics)
        total = math.fsum(shares[name] for name in directed)
        mean = self.mean(
            [shares[name] / total for name in directed],
            [[found.cosine(one, other) for other in directed] for one in directed],
        )
        norm = math.fsum(share * found.norm(name) for name, share in shares.items())
        return weighted_models(
            {name: norm * part / found.norm(name) for name, part in zip(directed, mean, strict=True)}
        )

    def merge(self, chunk: Chunk) -> torch.Tensor:
        return super().merge(chunk) if _directed(chunk.shares, chunk.statistics) else chunk.target.zero_()

    def compiled(self, chunk: Chunk, into: torch.Tensor) -> torch.Tensor | None:
        if not _directed(chunk.shares, chunk.statistics):
            return None
        return self._formula(chunk).compiled(chunk, into)

    def mean(self, weights: Sequence[float], cosines: Sequence[Sequence[float]]) -> list[float]:
        """The coefficients, over the unit vectors, of their mean; `cosines[i][j]` between two of them."""
        count = range(len(weights))

        def inner(left: Sequence[float], right: Sequence[float]) -> float:
            return math.fsum(left[i] * right[j] * cosines[i][j] for i in count for j in count)

        at = list(weights)
        if inner(at, at) <= OPPOSITE:  # They cancel: any start is as good.
            at = [float(i == 0) for i in count]
        at = _scaled(at, 1 / math.sqrt(inner(at, at)))
        for _ in range(self.steps):
            tangent = [0.0 for _ in count]
            for i in count:
                cosine = math.fsum(at[j] * cosines[i][j] for j in count)
                if cosine < OPPOSITE - 1:
                    continue
                angle = math.acos(min(1.0, cosine))
                if 0 < angle < self.tolerance:
                    continue
                pull = weights[i] * (angle / math.sin(angle) if angle else 1.0)
                for j in count:
                    tangent[j] += pull * (float(i == j) - cosine * at[j])
            length = math.sqrt(max(0.0, inner(tangent, tangent)))
            if length <= self.tolerance:
                break
            step = math.sin(length) / length
            moved = [math.cos(length) * a + step * t for a, t in zip(at, tangent, strict=True)]
            at = _scaled(moved, 1 / math.sqrt(inner(moved, moved)))
        return at


def _directed(shares: Mapping[str, float], statistics: Statistics | None) -> list[str]:
    """The models with a share and a direction."""
    found = Products(statistics)
    return [name for name in positive(shares) if found.norm(name) > 0]


def _scaled(values: Sequence[float], factor: float) -> list[float]:
    return [value * factor for value in values]
