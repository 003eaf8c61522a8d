"""Which candidate of a grid wins by its scores: who may win, smoothing, and ties.

Pure arithmetic on places of a grid. Knows no answers and no signals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal

import numpy as np
import numpy.typing as npt

from adamms.search.candidates import Places
from adamms.search.resampling import SAME, Array

Mask = npt.NDArray[np.bool_]
Endpoints = Literal["interior", "one_sided", "both"]
Ties = Literal["lowest", "middle", "widest_basin"]


@dataclass(frozen=True)
class Contest:
    """The rules by which a candidate of a grid wins.

    Args:
        shape: of the grid: values on every axis.
        neighbours: steps along an axis to the candidates that the signal compares with; see `Signal`.
        endpoints: `interior`: only candidates that have all these neighbours may win, as in the paper;
            `one_sided`: the first of an axis may win, too, e.g. alpha = 0; `both`: the first and the last.
        smoothing: how many neighbours on either side to average scores over.
        ties: which of several candidates with the smallest score wins; see `break_tie`.
    """

    shape: tuple[int, ...]
    neighbours: tuple[int, ...]
    endpoints: Endpoints
    smoothing: int
    ties: Ties

    @cached_property
    def along(self) -> list[Mask]:
        """For each axis the values at which a candidate may win: it must be so on every axis.

        Neighbours are not asked for on an axis that has one value, nor on one that has two, which has no
        interior, if the grid has another axis with several values.
        """
        several = sum(count > 1 for count in self.shape) > 1
        return [
            eligible(count, self.neighbours, self.endpoints)
            if count >= (3 if several else 2)
            else np.ones(count, dtype=bool)
            for count in self.shape
        ]

    @cached_property
    def allowed(self) -> Mask:
        """Who may win; shape (candidates,)."""
        return reduce(np.logical_and.outer, self.along).ravel()

    def beside(self, place: int) -> list[int]:
        """The places one step away on the grid."""
        places = np.argwhere(np.ones(self.shape))
        return np.flatnonzero(np.abs(places - places[place]).sum(1) == 1).tolist()

    def smoothed(self, scores: Array) -> Array:
        """The mean over a box of neighbours, cut at the ends; shape (..., candidates), as it was."""
        boxes = scores.reshape(*scores.shape[:-1], *self.shape)
        for axis, mask in enumerate(self.along, start=scores.ndim - 1):
            boxes = np.moveaxis(smooth(np.moveaxis(boxes, axis, -1), mask, self.smoothing), -1, axis)
        return boxes.reshape(scores.shape)

    def tied(self, scores: Array) -> Mask:
        """Who has the smallest score of those that may win; shape of the scores, (..., candidates)."""
        masked = np.where(self.allowed, scores, np.inf)
        found: Mask = masked <= masked.min(-1, keepdims=True) + SAME
        return found

    def winner(self, tied: Mask) -> int:
        """The place of the one that wins among those tied; shape (candidates,)."""
        places = np.flatnonzero(tied)
        return int(places[break_tie(np.argwhere(tied.reshape(self.shape)), self.ties)])

    def wins(self, resampled: Array) -> Array:
        """The share of resamples that each candidate wins: (resamples, candidates) to (candidates,).

        Those that tie in a resample share it equally: that only the tie rule prefers one is no certainty.
        """
        tied = self.tied(resampled)
        shares: Array = (tied / tied.sum(1, keepdims=True)).mean(0)
        return shares


def eligible(count: int, neighbours: tuple[int, ...], endpoints: Endpoints) -> Mask:
    """Which of `count` candidates along one axis may win; shape (count,). See `Contest`."""
    allowed = np.ones(count, dtype=bool)
    if neighbours and endpoints != "both":
        allowed[0] = endpoints == "one_sided"
        allowed[-1] = max(neighbours) < 0
    return allowed


def smooth(scores: Array, allowed: Mask, half_width: int) -> Array:
    """Replace each score by the mean over `half_width` neighbours on either side, cut at the ends.

    Only scores of candidates that may win enter, as in the authors' `smooth_list`.

    Args:
        scores: shape (..., candidates).
        allowed: shape (candidates,).
        half_width: 0 leaves the scores as they are.
    """
    if half_width == 0:
        return scores
    positions = np.flatnonzero(allowed)
    smoothed = scores.copy()
    for place, position in enumerate(positions):
        window = positions[max(0, place - half_width) : place + half_width + 1]
        smoothed[..., position] = scores[..., window].mean(-1)
    return smoothed


def break_tie(positions: Places, rule: Ties) -> int:
    """The index of the winner.

    Args:
        positions: of the candidates that are tied, in their order; shape (tied, axes), in steps of the grid.
        rule: `lowest`: the first. `middle`: the one with the fewest steps to all others together; on one axis
            the median. `widest_basin`: the middle of the largest set that is connected by steps along single
            axes; on one axis the longest run. The first among equals.
    """
    if rule == "lowest" or len(positions) == 1:
        return 0
    if rule == "middle":
        return _middle(positions)
    widest = max(_basins(positions), key=len)  # the first of the largest
    return widest[_middle(positions[widest])]


def _middle(positions: Places) -> int:
    return int(_steps(positions).sum(1).argmin())


def _basins(positions: Places) -> Sequence[list[int]]:
    """The connected sets, as indices in order."""
    near = _steps(positions) == 1
    basins: list[list[int]] = []
    left = list(range(len(positions)))
    while left:
        basin, edge = {left[0]}, [left[0]]
        while edge:
            found = [int(i) for i in np.flatnonzero(near[edge.pop()]) if int(i) not in basin]
            basin.update(found)
            edge += found
        basins.append(sorted(basin))
        left = [index for index in left if index not in basin]
    return basins


def _steps(positions: Places) -> Places:
    """Steps between each two, along the axes; shape (tied, tied)."""
    steps: Places = np.abs(positions[:, None] - positions[None]).sum(-1)
    return steps
