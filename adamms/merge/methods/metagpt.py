"""MetaGPT: task vectors weighted by their squared norms.

    w_m   = share_m * ||tau_m||^2 / sum_j share_j * ||tau_j||^2        m, j = target and donors
    theta = theta_ancestor + scaling * sum_m w_m * tau_m

Source: Zhou et al., "MetaGPT: merging large language models using model exclusive task arithmetic"
(arXiv:2406.11385), section 4. It has no coefficient, which is equal shares here: alpha 0.5 with one donor.
Another alpha leans towards one side, so that a search has an axis.

AdaMMS' scripts take the norms over all merged tensors as one vector (scope model). In pure float16, their
squares of entries below 1.7e-4 are zero; here squares are float64 and added exactly. Where a donor has no
counterpart of a tensor, the target takes its share and the weights of the others are normalised there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import FiniteFloat

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import Chunk, Statistics, Survey
from adamms.merge.surveys.sums import Summation, Sums
from adamms.merge.task_vectors import TaskVectors


@dataclass(frozen=True)
class MetaGpt(CombiningMethod):
    """Task vectors by squared norm.

    Args:
        scaling: factor of the sum.
        scope: what the norms are taken over.
    """

    scaling: FiniteFloat
    scope: Literal["model", "tensor"]

    name: ClassVar[str] = "metagpt"
    formula: ClassVar[str] = "ancestor + scaling * sum of w * (model - ancestor), w by share * squared norm"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("scaling",)

    def survey(self) -> Survey:
        return Summation(_squares, self.scope)

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        assert isinstance(statistics, Sums)
        return Combination(_weights(shares, statistics.of), TaskVectors(), self.scaling)


def _squares(chunk: Chunk) -> dict[str, torch.Tensor]:
    return {name: vector.square_() for name, vector in chunk.task_vectors().items()}


def _weights(shares: Mapping[str, float], norms: Mapping[str, float]) -> dict[str, float]:
    """Name -> weight; the shares themselves if all task vectors are zero."""
    weights = {name: share * norms[name] for name, share in shares.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else dict(shares)
