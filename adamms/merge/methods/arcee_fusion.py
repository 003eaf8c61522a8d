"""Arcee Fusion: of each donor's differences from the target, the outstanding ones are taken.

    theta = target + sum_d alpha_d * (theta_d - target where I_d >= threshold_d, else 0)
    I_d   = |theta_d - target| * KL_row,     threshold = median + 1.5 * (q3 - q1), of I_d over the tensor

KL_row = sum_j p_j log(p_j / q_j), p = softmax(donor's row) + 1e-8, q = softmax(target's row) + 1e-8, for each
row along the last dimension. q1, the median and q3 are the values at (n - 1) / 4, (n - 1) / 2 and 3 (n - 1) /
4, rounded down, of the n values in ascending order.

Source: mergekit's `arcee_fusion`: alpha 1 with one donor, its base_model being the target. The threshold is a
fence as of a box plot, from the median on.

Differences: mergekit takes one donor whole; here each has a threshold and a share of its own. mergekit finds
the quartiles of tensors of more than a million elements from a sample, so that its result differs from run to
run; here they are exact, in two passes over chunks after a first one for the rows. KL is 0 for a row with NaN
or plus infinity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import numpy as np
import torch

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import TARGET, Chunk, Statistics
from adamms.merge.softmax import Array, divergences
from adamms.merge.surveys.survey import Then
from adamms.merge.surveys.thresholds import Ranking, Thresholds
from adamms.merge.task_vectors import TaskVectors


@dataclass(frozen=True)
class ArceeFusion(CombiningMethod):
    """Take a donor's differences that stand out."""

    name: ClassVar[str] = "arcee_fusion"
    formula: ClassVar[str] = "target + alpha * (donor - target), where that stands out in its tensor"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False
    since: ClassVar[str] = "0.10.0"

    def survey(self) -> Then:
        return Then(RowsApart(), _quartiles, more=2)

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        assert isinstance(statistics, Differences)
        assert statistics.vectors.trims, "after all passes"
        return Combination({name: shares[name] for name in shares if name != TARGET}, statistics.vectors)


@dataclass(frozen=True)
class Differences(Statistics):
    """What is found of the donors' differences: first the KL of their rows, then also which are taken."""

    vectors: TaskVectors


@dataclass
class RowsSoFar:
    """Donor -> the KL of each row. Of tensors of one dimension: where values begin -> the values themselves.

    All rows have one array, made at the first chunk: see `Tally`.
    """

    rows: dict[str, Array] = field(default_factory=dict)
    parts: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    stored: ClassVar[bool] = True

    def add(self, chunk: Chunk) -> None:
        if len(chunk.shape) < 2:
            self.parts[chunk.start] = {name: values.clone() for name, values in chunk.models().items()}
            return
        width, first = chunk.shape[-1], chunk.start // chunk.shape[-1]
        for name, donor in chunk.donors.items():
            if name not in self.rows:
                self.rows[name] = np.zeros(int(np.prod(chunk.shape[:-1])))
            found = divergences(donor.reshape(-1, width), chunk.target.reshape(-1, width))
            self.rows[name][first : first + len(found)] = found

    def __iadd__(self, other: Self) -> Self:
        self.parts |= other.parts
        for name, values in other.rows.items():
            self.rows[name] = self.rows.get(name, 0.0) + values  # a row is in one of them: others have 0
        return self


@dataclass(frozen=True)
class RowsApart:
    """The first pass: how far each row is from the target's."""

    scope: ClassVar[Literal["model", "tensor"]] = "tensor"
    passes: ClassVar[int] = 1

    def empty(self) -> RowsSoFar:
        return RowsSoFar()

    def conclude(self, found: RowsSoFar) -> Differences:
        rows = found.rows
        if found.parts:
            parts = [part for _, part in sorted(found.parts.items())]
            whole = {name: torch.cat([part[name].reshape(-1) for part in parts])[None] for name in parts[0]}
            rows = {name: divergences(whole[name], whole[TARGET]) for name in whole if name != TARGET}
        factors = {name: torch.from_numpy(values) for name, values in rows.items()}
        return Differences(TaskVectors(factors=factors, base=TARGET))


def _quartiles(rows: Differences) -> Then:
    """The passes for the quartiles of the importance."""

    def outstanding(found: Thresholds) -> Differences:
        return Differences(replace(rows.vectors, least=_fences(found.of)))

    return Then(Ranking(rows.vectors, _ranks, "tensor"), outstanding, more=0)


def _ranks(count: int) -> tuple[int, ...]:
    """The ranks of q1, median and q3 among `count` values, 1 being the largest."""
    return tuple(count - quarter * (count - 1) // 4 for quarter in (1, 2, 3))


def _fences(quartiles: Mapping[str, tuple[float, ...]]) -> dict[str, float]:
    """Donor -> the least importance that is taken; infinity, the only one found, if no value is finite."""
    return {
        name: found[1] + 1.5 * (found[2] - found[0]) if len(found) == 3 else found[0]
        for name, found in quartiles.items()
    }
