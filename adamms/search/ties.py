"""Which of several candidates with the same D wins, from where they are on the grid."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int_]

TIE_RULES = ("lowest", "middle", "widest_basin")


def break_tie(positions: Positions, rule: str) -> int:
    """The index of the winner.

    Args:
        positions: of those tied, in the candidates' order; shape (tied, axes), in steps of the grid.
        rule: `lowest`, the first; `middle`, the one with the fewest steps to all others together, on one
            axis the median; `widest_basin`, the middle of the most that are connected by steps along single
            axes, on one axis the longest run. The first among equals.
    """
    if rule == "lowest" or len(positions) == 1:
        return 0
    if rule == "middle":
        return _middle(positions)
    widest = max(_basins(positions), key=len)  # the first of the largest
    return widest[_middle(positions[widest])]


def _middle(positions: Positions) -> int:
    return int(_steps(positions).sum(1).argmin())


def _basins(positions: Positions) -> Sequence[list[int]]:
    """Indices of those that are connected, in order."""
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


def _steps(positions: Positions) -> Positions:
    """Between each two, along the axes; shape (tied, tied)."""
    steps: Positions = np.abs(positions[:, None] - positions[None]).sum(-1)
    return steps
