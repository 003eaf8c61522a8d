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
run; here they are exact, in two passes over chunks after a first one for the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from adamms.merge.method import TARGET, Chunk, Method, Statistics
from adamms.merge.surveys.survey import Then
from adamms.merge.surveys.thresholds import Ranking, Thresholds

Array = npt.NDArray[np.float64]
# Added to probabilities, as in mergekit.
LEAST = 1e-8


@dataclass(frozen=True)
class ArceeFusion(Method):
    """Take a donor's differences that stand out."""

    name: ClassVar[str] = "arcee_fusion"
    formula: ClassVar[str] = "target + alpha * (donor - target), where that stands out in its tensor"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def survey(self) -> Then:
        return Then(RowsApart(), _quartiles, more=2)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        found = chunk.statistics
        assert isinstance(found, Fences)
        importance = _importance(found.rows, chunk)
        merged = chunk.target.clone()
        for name, donor in chunk.donors.items():
            if name in found.least:
                taken = donor.sub_(chunk.target).mul_(importance[name] >= found.least[name])
                merged.add_(taken.mul_(chunk.coefficients[name]))
        return merged


@dataclass(frozen=True)
class Apart(Statistics):
    """What `RowsApart` finds: donor -> KL of each row; one number for a tensor of one dimension."""

    of: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Fences(Statistics):
    """What the survey finds: the rows' KL, and donor -> the least importance that is taken."""

    rows: Apart
    least: Mapping[str, float]


@dataclass
class RowsSoFar:
    """Donor -> the KL of each row. Of tensors of one dimension: where values begin -> the values themselves.

    All rows have one array, made at the first chunk: see `Tally`.
    """

    rows: dict[str, Array] = field(default_factory=dict)
    parts: dict[int, dict[str, Array]] = field(default_factory=dict)
    stored: ClassVar[bool] = False

    def add(self, chunk: Chunk) -> None:
        models = {name: values.cpu().numpy() for name, values in chunk.models().items()}
        if len(chunk.shape) < 2:
            self.parts[chunk.start] = {name: values.copy() for name, values in models.items()}
            return
        width, first = chunk.shape[-1], chunk.start // chunk.shape[-1]
        target = models[TARGET].reshape(-1, width)
        for name in chunk.donors:
            if name not in self.rows:
                self.rows[name] = np.zeros(int(np.prod(chunk.shape[:-1])))
            found = divergences(models[name].reshape(-1, width), target)
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

    def conclude(self, found: RowsSoFar) -> Apart:
        rows = found.rows
        if found.parts:
            parts = [part for _, part in sorted(found.parts.items())]
            whole = {name: np.concatenate([part[name] for part in parts])[None] for name in parts[0]}
            rows = {name: divergences(whole[name], whole[TARGET]) for name in whole if name != TARGET}
        return Apart({name: torch.from_numpy(values) for name, values in rows.items()})


def divergences(rows: Array, base: Array) -> Array:
    """KL of each row's softmax from the base's, not below 0: shapes (n, width) -> (n,)."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        p, q = _softmax(rows) + LEAST, _softmax(base) + LEAST
        return np.maximum(np.add.reduce(p * np.log(p / q), axis=1), 0.0)


def _softmax(rows: Array) -> Array:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(powers / np.add.reduce(powers, axis=1, keepdims=True))


def _importance(rows: Apart, chunk: Chunk) -> dict[str, torch.Tensor]:
    """Donor -> |difference| * KL of the row, of the chunk's shape."""
    width = chunk.shape[-1] if len(chunk.shape) > 1 else 0
    found = {}
    for name, donor in chunk.donors.items():
        if name in rows.of:
            apart = rows.of[name]
            if width:
                apart = apart[chunk.start // width :][: donor.numel() // width]
                apart = apart.reshape(*donor.shape[:-1], 1)
            found[name] = (donor - chunk.target).abs_().mul_(apart.to(donor.device))
    return found


def _quartiles(rows: Apart) -> Then:
    """The passes for the quartiles of the importance."""
    return Then(Ranking(partial(_importance, rows), _ranks, "tensor"), partial(_fences, rows), more=0)


def _ranks(count: int) -> tuple[int, ...]:
    """The ranks of q1, median and q3 among `count` values, 1 being the largest."""
    return tuple(count - quarter * (count - 1) // 4 for quarter in (1, 2, 3))


def _fences(rows: Apart, found: Thresholds) -> Fences:
    least = {}
    for name, quartiles in found.of.items():
        if len(quartiles) == 3:  # one only where no value is finite
            q1, median, q3 = quartiles
            least[name] = median + 1.5 * (q3 - q1)
    return Fences(rows, least)
