"""MetaGPT: task vectors weighted by their squared norms.

    w_m   = share_m * ||tau_m||^2 / sum_j share_j * ||tau_j||^2        m, j = target and donors
    theta = theta_ancestor + scaling * sum_m w_m * tau_m

Source: Zhou et al., "MetaGPT: merging large language models using model exclusive task arithmetic"
(arXiv:2406.11385), section 4. It has no coefficient: equal shares, alpha 0.5 with one donor, the default.
Another alpha leans towards one side, so that a search has something to walk along.

AdaMMS' scripts take the norms over all merged tensors as one vector, `scope: model`. In pure float16 their
squares of entries below 1.7e-4 are zero; here they are float64, added exactly. Where a donor has no
counterpart of a tensor, the weights of the others are normalised there, and its share is the target's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from adamms.errors import check_choice
from adamms.merge.election import weighted_sum
from adamms.merge.method import Chunk, Survey
from adamms.merge.parameters import check_number
from adamms.merge.surveys.sums import Summation, Sums


@dataclass(frozen=True)
class MetaGpt:
    """Task vectors by squared norm.

    Args:
        scaling: factor of the sum.
        scope: of the norms: the model, or each tensor.

    Raises:
        AdammsError: scaling that is not a finite number, or an unknown scope.
    """

    scaling: float = 1.0
    scope: Literal["model", "tensor"] = "model"

    name: ClassVar[str] = "metagpt"
    formula: ClassVar[str] = "ancestor + scaling * sum of w * (model - ancestor), w by share * squared norm"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("merge.scaling", self.scaling)
        check_choice("merge.scope", self.scope, ("model", "tensor"))

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return self.scaling == 1 and not any(coefficients.values())

    def survey(self) -> Survey:
        return Summation(_squares, self.scope)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        assert isinstance(chunk.statistics, Sums)
        merged = weighted_sum(chunk.task_vectors(), _weights(chunk.shares, chunk.statistics.of))
        return merged.mul_(self.scaling).add_(chunk.base())


def _squares(chunk: Chunk) -> dict[str, torch.Tensor]:
    return {name: vector.square_() for name, vector in chunk.task_vectors().items()}


def _weights(shares: Mapping[str, float], norms: Mapping[str, float]) -> dict[str, float]:
    """Name -> weight; the shares themselves if all task vectors are zero."""
    weights = {name: share * norms[name] for name, share in shares.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else dict(shares)
