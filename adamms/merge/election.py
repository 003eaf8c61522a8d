"""Sign election and disjoint merge, the second half of TIES (arXiv:2306.01708, section 3).

For each element a sign is elected, and only the vectors with that sign count. Pure arithmetic, and the
survey for the majority sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from adamms.merge import kernel
from adamms.merge.exactness import positive_
from adamms.merge.method import Chunk, Statistics
from adamms.merge.surveys.compiled import CompiledSummary, Taken, Vectors
from adamms.merge.task_vectors import TaskVectors
from adamms.system.on_demand import torch

# How the sign of an element is found. `majority`: the sign of the sum of the vectors; where they cancel, the
# sign that more elements have (TIES' published code). `weighted`: the sign of the sum of the vectors times
# their shares; where they cancel, positive (mergekit).
Election = Literal["majority", "weighted"]
# `sum`: the vectors that agree, each times its share. `mean`: their sum divided by the sum of these shares.
Combine = Literal["sum", "mean"]


@dataclass(frozen=True)
class Majority(Statistics):
    """What a `MajorityVote` finds.

    Args:
        sign: 1, -1, or 0 if as many elements are positive as negative.
        before: what an earlier survey found.
    """

    sign: int
    before: Statistics | None = None


@dataclass(frozen=True)
class MajorityVote:
    """A survey: do more elements have a positive sum of the vectors, or a negative one?

    Args:
        vectors: chunk -> name -> the vectors that take part in the election.
        before: what an earlier survey found; handed on.
        scope: among the elements of the model, or of each tensor.
    """

    vectors: Taken
    before: Statistics | None = None
    scope: Literal["model", "tensor"] = "model"
    passes: ClassVar[int] = 1

    def empty(self) -> Votes:
        return Votes(self.vectors)

    def conclude(self, found: Votes) -> Majority:
        return Majority((found.balance > 0) - (found.balance < 0), self.before)


class Votes(CompiledSummary):
    """How many more elements have a positive sum than a negative one."""

    trims: ClassVar[bool] = True

    def __init__(self, vectors: Taken) -> None:
        super().__init__(vectors)
        self.balance = 0

    def add_stored(self, vectors: TaskVectors, chunk: Chunk) -> None:
        models, base = vectors.operands(chunk)
        self.balance += kernel.balance(list(models.values()), base, vectors.all_kept(models, chunk))

    def add_exact(self, vectors: Vectors) -> None:
        signs = _total(vectors, None).sign_()
        balance = signs.sum()
        if torch.isnan(balance):  # of infinite inputs
            balance = signs.nansum()
        self.balance += int(balance)

    def __iadd__(self, other: Self) -> Self:
        self.balance += other.balance
        return self


def merge_agreeing(
    vectors: Vectors,
    shares: Mapping[str, float],
    election: Election,
    combine: Combine,
    majority: int = 0,
    weights: Mapping[str, float] | None = None,
) -> torch.Tensor:
    """The merged task vector: the parts that have the elected sign.

    Args:
        vectors: name -> task vector, trimmed or thinned; overwritten.
        shares: name -> its weight, in the election and in the sum.
        election, combine: see above.
        majority: the sign that more elements have; read only by the election `majority`.
        weights: name -> its weight in the sum, if that is another one.
    """
    total = _total(vectors, shares if election == "weighted" else None)
    # 1 or -1 everywhere; a zero gets the favoured sign.
    favoured = 0.5 if election == "weighted" or majority > 0 else -0.5
    sign = total.sign_().add_(favoured).sign_()
    # Products with 1 and -1 are exact, and many times faster than masks. NaN passes on.
    agreeing = {name: positive_(vector.mul_(sign)) for name, vector in vectors.items()}
    weights = weights or shares
    if combine == "sum":
        return weighted_sum(agreeing, weights).mul_(sign)
    total_weight = weighted_sum({name: vector.sign() for name, vector in agreeing.items()}, weights)
    total_weight.add_(total_weight == 0)  # where no vector agrees, the sum is zero
    return weighted_sum(agreeing, weights).mul_(sign).div_(total_weight)


def fused(vectors: Vectors, shares: Mapping[str, float], elect: bool, combine: Combine) -> torch.Tensor:
    """The parts with the sign that the weighted election gives; without `elect` the weighted sum of all."""
    if elect:
        return merge_agreeing(vectors, shares, "weighted", combine)
    return weighted_sum(vectors, shares)


def weighted_sum(vectors: Vectors, shares: Mapping[str, float]) -> torch.Tensor:
    """The sum of the vectors, each times its share; overwrites them."""
    first, *others = vectors
    # `add_(..., alpha=...)` would be fused into one rounding on some processors.
    total = vectors[first].mul_(shares[first])
    for name in others:
        total.add_(vectors[name].mul_(shares[name]))
    return total


def _total(vectors: Vectors, shares: Mapping[str, float] | None) -> torch.Tensor:
    """The sum of the vectors, which are not changed."""
    first, *others = vectors
    total = vectors[first].clone() if shares is None else vectors[first] * shares[first]
    for name in others:
        total.add_(vectors[name] if shares is None else vectors[name] * shares[name])
    return total
