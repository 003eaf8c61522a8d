"""Sign election and disjoint merge, the second half of TIES: of each element, only those vectors count
that point where most of the mass does. Pure arithmetic, and the survey for the majority sign.

Source: TIES-Merging (arXiv:2306.01708), section 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch

from adamms.merge.method import Chunk, Statistics

# How the sign of an element is found. `majority`: that of the sum of the vectors; where they cancel, the
# sign that more elements have (TIES' published code). `weighted`: that of the sum of the vectors times
# their shares; where it is zero, positive (mergekit).
Election = Literal["majority", "weighted"]
ELECTIONS = ("majority", "weighted")
# `sum`: of the vectors that agree, each times its share. `mean`: that divided by the sum of these shares.
Combine = Literal["sum", "mean"]
COMBINES = ("sum", "mean")

Vectors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Majority(Statistics):
    """What a `MajorityVote` ends in.

    Args:
        sign: 1, -1, or 0 if as many elements are positive as negative.
        before: what was found out before.
    """

    sign: int
    before: Statistics | None = None


@dataclass(frozen=True)
class MajorityVote:
    """A survey: do more elements have a positive sum of the vectors, or a negative one?

    Args:
        vectors: chunk -> name -> vectors that take part in the election.
        before: what earlier surveys found, to be handed on.
        scope: among the elements of the model, or of each tensor.
    """

    vectors: Callable[[Chunk], Vectors]
    before: Statistics | None = None
    scope: Literal["model", "tensor"] = "model"

    @property
    def passes(self) -> int:
        return 1

    def empty(self) -> "Votes":
        return Votes(self.vectors)

    def conclude(self, found: "Votes") -> Majority:
        return Majority((found.balance > 0) - (found.balance < 0), self.before)


class Votes:
    """How many more elements have a positive sum than a negative one."""

    def __init__(self, vectors: Callable[[Chunk], Vectors]) -> None:
        self.vectors = vectors
        self.balance = 0

    def add(self, chunk: Chunk) -> None:
        total = _total(self.vectors(chunk), None)
        self.balance += int((total > 0).sum()) - int((total < 0).sum())

    def __iadd__(self, other: Self) -> Self:
        self.balance += other.balance
        return self


def merge_agreeing(
    vectors: Vectors, shares: Mapping[str, float], election: Election, combine: Combine, majority: int
) -> torch.Tensor:
    """The merged task vector, of those that have the elected sign.

    Args:
        vectors: name -> task vector, trimmed or thinned; overwritten.
        shares: name -> its weight.
        election, combine: see above.
        majority: the sign that more elements have; used by `majority` alone.
    """
    total = _total(vectors, shares if election == "weighted" else None)
    positive = total >= 0 if election == "weighted" or majority > 0 else total > 0
    for vector in vectors.values():
        # NaN is neither: it passes on, as with every other method.
        vector.masked_fill_(torch.where(positive, vector <= 0, vector >= 0), 0.0)
    if combine == "sum":
        return weighted_sum(vectors, shares)
    weight = torch.zeros_like(total)
    for name, vector in vectors.items():
        weight.add_((vector != 0).double().mul_(shares[name]))
    return weighted_sum(vectors, shares).div_(weight.masked_fill_(weight == 0, 1.0))


def weighted_sum(vectors: Vectors, shares: Mapping[str, float]) -> torch.Tensor:
    """The sum of the vectors, each times its share; overwrites them."""
    first, *others = vectors
    # Not `add_(..., alpha=...)`: processors that fuse it into one rounding would differ from others.
    total = vectors[first].mul_(shares[first])
    for name in others:
        total.add_(vectors[name].mul_(shares[name]))
    return total


def _total(vectors: Vectors, shares: Mapping[str, float] | None) -> torch.Tensor:
    """The sum of the vectors, which stay as they are."""
    scaled = [vector if shares is None else vector * shares[name] for name, vector in vectors.items()]
    total = scaled[0].clone() if shares is None else scaled[0]
    for vector in scaled[1:]:
        total.add_(vector)
    return total
