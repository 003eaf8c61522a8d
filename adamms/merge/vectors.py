"""Task vectors with their shares, and how several become one: a sum, or a mean of those that agree in sign.

Arithmetic that several methods have in common; knows nothing of one method's formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from adamms.merge.method import Chunk

# Shares are differences of rounded numbers; a model with less than this has none.
LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class TaskVector:
    """What one model adds to the ancestor.

    Args:
        model: TARGET, or a donor's name.
        share: the model's part of the merge; those of all models add up to 1.
        tau: the model's values minus the ancestor's, float64.
    """

    model: str
    share: float
    tau: torch.Tensor


def weighted_task_vectors(chunk: Chunk) -> list[TaskVector]:
    """The task vectors of the models that have a share; overwrites the chunk's operands."""
    shares = chunk.shares
    return [
        TaskVector(model, shares[model], tau)
        for model, tau in chunk.task_vectors().items()
        if shares[model] > LEAST_SHARE
    ]


def weighted_sum(vectors: Sequence[TaskVector]) -> torch.Tensor:
    """sum(share * tau); overwrites the vectors."""
    total = vectors[0].tau.mul_(vectors[0].share)
    for vector in vectors[1:]:
        total.add_(vector.tau.mul_(vector.share))
    return total


def consensus(
    vectors: Sequence[TaskVector], mean: bool, weights: Sequence[float] | None = None
) -> torch.Tensor:
    """The sum of weight * tau over the models whose sign is the one elected, as in TIES (arXiv:2306.01708).

    The elected sign of an element is that of sum(share * tau), positive for a sum of 0; elements that are 0
    agree with neither sign.

    Args:
        vectors: overwritten.
        mean: divide by the weights of those that agree, where any does.
        weights: of the vectors; their shares by default.
    """
    if weights is None:
        weights = [vector.share for vector in vectors]
    elected = torch.zeros_like(vectors[0].tau)
    for vector in vectors:
        elected.add_(vector.tau * vector.share)
    positive = elected >= 0
    total, agreeing = elected.zero_(), torch.zeros_like(elected)
    for vector, weight in zip(vectors, weights, strict=True):
        agrees = torch.where(positive, vector.tau > 0, vector.tau < 0)
        agreeing.add_(agrees, alpha=weight)
        total.add_(vector.tau.mul_(weight).mul_(agrees))
    return total.div_(agreeing.masked_fill_(agreeing == 0, 1.0)) if mean else total
