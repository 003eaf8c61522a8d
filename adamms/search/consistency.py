"""Consistency scores: how little the answers change between neighbouring candidates of a grid.

For answers G_0 ... G_n along increasing alpha, and DiffCnt(i, j) the summed difference of G_i and G_j:

    sum       D_i = DiffCnt(i, i-1) + DiffCnt(i, i+1)            paper, Algorithm 1
    either    D_i = examples that differ from either neighbour   paper, appendix B; the authors' LLaMA script
    previous  D_i = DiffCnt(i, i-1)                              the authors' Qwen script

Pure arithmetic on differences; knows no models and no labels.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RULES = ("sum", "either", "previous")
ENDPOINTS = ("interior", "one_sided")


def contributions(changes: Array, rule: str) -> Array:
    """What every example adds to every candidate's D.

    At an end of the grid the one neighbour stands in for the missing one, so that an end's `sum`
    counts it twice.

    Args:
        changes: difference between candidate i and i + 1 for each example; shape (candidates - 1,
            examples).
        rule: one of RULES.

    Returns:
        Shape (candidates, examples).
    """
    before = np.concatenate([changes[:1], changes])  # difference to the previous candidate
    after = np.concatenate([changes, changes[-1:]])  # difference to the next one
    if rule == "sum":
        return before + after
    return np.maximum(before, after) if rule == "either" else before


def eligible(count: int, rule: str, endpoints: str) -> npt.NDArray[np.bool_]:
    """Which of `count` candidates may win; shape (candidates,).

    Those that have the neighbours the rule asks for, as in the paper and the scripts;
    `one_sided` also lets the first, alpha = 0, win.
    """
    allowed = np.ones(count, dtype=bool)
    allowed[0] = endpoints == "one_sided"
    allowed[-1] = rule == "previous"
    return allowed


def smooth(scores: Array, allowed: npt.NDArray[np.bool_], half_width: int) -> Array:
    """Replace each score by the mean over `half_width` neighbours on either side, cut at the ends.

    Only scores of candidates that may win enter, as in the authors' `smooth_list`.

    Args:
        scores: shape (..., candidates).
        allowed: shape (candidates,).
        half_width: 0 leaves the scores as they are.

    Returns:
        Shape (..., candidates).
    """
    if half_width == 0:
        return scores
    positions = np.flatnonzero(allowed)
    smoothed = scores.copy()
    for place, position in enumerate(positions):
        window = positions[max(0, place - half_width) : place + half_width + 1]
        smoothed[..., position] = scores[..., window].mean(-1)
    return smoothed
