"""Formulas that are a weighted sum: of the models, or of their task vectors, trimmed and elected if need be.

A method whose formula is one describes it as a `Combination`, which is computed in one compiled pass where
that fits, and by torch's operations everywhere else: the same bits. Knows no particular method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from adamms.merge import kernel
from adamms.merge.election import Combine, Election, merge_agreeing, weighted_sum
from adamms.merge.method import Chunk, Method, Statistics
from adamms.merge.task_vectors import TaskVectors
from adamms.system.on_demand import torch


@dataclass(frozen=True)
class Combination:
    """The sum of weight * model, or base + scaling * the sum of weight * task vector from that base.

    >>> Combination({"target": 0.75, "a": 0.25}).vectors is None
    True

    Args:
        weights: TARGET and donors -> weight, in the order of the sum.
        vectors: the task vectors that are summed; None for the models' own values.
        scaling: factor of the sum of task vectors.
        election, combine, majority: of task vectors, see `election`; without election all count.
    """

    weights: Mapping[str, float]
    vectors: TaskVectors | None = None
    scaling: float = 1.0
    election: Election | None = None
    combine: Combine = "sum"
    majority: int = 0

    def of(self, chunk: Chunk) -> torch.Tensor:
        """The merged chunk in float64, by torch's operations; overwrites the operands."""
        if self.vectors is None:
            models = chunk.models()
            return weighted_sum({name: models[name] for name in self.weights}, self.weights)
        every = self.vectors(chunk)
        vectors = {name: every[name] for name in self.weights}
        if self.election is None:
            merged = weighted_sum(vectors, self.weights)
        else:
            merged = merge_agreeing(vectors, self.weights, self.election, self.combine, self.majority)
        return merged.mul_(self.scaling).add_(self.vectors.operands(chunk)[1])

    def compiled(self, chunk: Chunk, into: torch.Tensor | None = None) -> torch.Tensor | None:
        """The merged chunk, from its stored values to the target's dtype, in one compiled pass.

        None if there is no such pass here, or if a value that is read or made is infinite or NaN.

        Args:
            into: memory for the result, which is then a view of it; by default new.
        """
        own, base = (chunk.models(), None) if self.vectors is None else self.vectors.operands(chunk)
        models = [own[name] for name in self.weights]
        if not kernel.fits(models if base is None else [*models, base]):
            return None
        return kernel.combine(models, base, self.numbers(chunk), chunk.target.dtype, into)

    def numbers(self, chunk: Chunk | None = None) -> kernel.Numbers:
        """As the compiled passes take them; of a chunk if rows have factors."""
        kept = None if self.vectors is None else self.vectors.all_kept(self.weights, chunk)
        weights, mean = list(self.weights.values()), self.combine == "mean"
        return kernel.Numbers(weights, self.scaling, kept, self.election, self.majority, mean)


class CombiningMethod(Method):
    """A method whose formula is a `Combination`, of all chunks or of those that are not merged row by row."""

    @property
    def by_formula_alone(self) -> bool:
        """Whether `combination` says all: a derived class has nothing of its own beside it."""
        kind, own = type(self), CombiningMethod
        return kind.merge is own.merge and kind.compiled is own.compiled and kind.by_row is own.by_row

    @abstractmethod
    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        """The formula of a tensor, which has one for all its values.

        Args:
            shares: TARGET and every donor that has a counterpart -> its share.
            statistics: what the method's survey found.
        """

    def by_row(self, chunk: Chunk) -> bool:
        """Whether each row of the chunk has numbers of its own, so that `merge_rows` merges it."""
        return False

    def merge_rows(self, chunk: Chunk) -> torch.Tensor:
        """The merged chunk in float64, where rows have numbers of their own; overwrites the operands."""
        raise AssertionError("only where by_row is True")

    def merge(self, chunk: Chunk) -> torch.Tensor:
        return self.merge_rows(chunk) if self.by_row(chunk) else self._formula(chunk).of(chunk)

    def compiled(self, chunk: Chunk, into: torch.Tensor) -> torch.Tensor | None:
        """As `Combination.compiled`; None, too, by rows, and where a derived class has its own `merge`."""
        if type(self).merge is not CombiningMethod.merge or self.by_row(chunk):
            return None
        return self._formula(chunk).compiled(chunk, into)

    def _formula(self, chunk: Chunk) -> Combination:
        return self.combination(chunk.shares, chunk.statistics)
