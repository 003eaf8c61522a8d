"""Consistency scores: how little the answers change between neighbouring candidates of a grid.

For answers G_0 ... G_n along increasing alpha, and DiffCnt(i, j) the summed difference of G_i and G_j:

    sum       D_i = DiffCnt(i, i-1) + DiffCnt(i, i+1)            paper, Algorithm 1
    either    D_i = examples that differ from either neighbour   paper, appendix B; the authors' LLaMA script
    previous  D_i = DiffCnt(i, i-1)                              the authors' Qwen script

On a grid of several axes D is the sum, over the axes, of what the rule says of the candidate's neighbours
along that axis alone: those that differ from it in one setting, by one step.

Pure arithmetic on differences; knows no models and no labels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

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


def eligible(count: int, rule: str, endpoints: str) -> Mask:
    """Which of `count` candidates may win; shape (candidates,).

    Those that have the neighbours the rule asks for, as in the paper and the scripts;
    `one_sided` also lets the first, alpha = 0, win.
    """
    allowed = np.ones(count, dtype=bool)
    allowed[0] = endpoints == "one_sided"
    allowed[-1] = rule == "previous"
    return allowed


def smooth(scores: Array, allowed: Mask, half_width: int) -> Array:
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


def grid_contributions(changes: Sequence[Array], rule: str) -> Array:
    """What every example adds to every candidate's D on a grid: the sum of `contributions` over its axes.

    An axis of one value adds nothing. One of two values has two ends, which both count their only
    difference as `contributions` says of ends.

    Args:
        changes: for each axis k the difference between neighbours along it; shape (n_1, ..., n_k - 1, ...,
            examples).
        rule: one of RULES.

    Returns:
        Shape (n_1, n_2, ..., examples).
    """
    parts = [
        np.moveaxis(contributions(np.moveaxis(along, axis, 0), rule), 0, axis)
        for axis, along in enumerate(changes)
        if along.shape[axis]
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def grid_eligible(shape: Sequence[int], rule: str, endpoints: str) -> list[Mask]:
    """For each axis of a grid, at which of its values a candidate may win; it must be so on all axes.

    An axis is judged by `eligible`. One of a single value, along which there are no neighbours, forbids
    nothing; nor does one of two values, which has no interior, if candidates have neighbours along another.

    Args:
        shape: values on every axis.
        rule, endpoints: as in `eligible`; with `one_sided` the first value of every axis may win.
    """
    several = sum(count > 1 for count in shape) > 1
    judged = 3 if several else 2  # values, at least
    return [
        eligible(count, rule, endpoints) if count >= judged else np.ones(count, dtype=bool) for count in shape
    ]


def grid_smooth(scores: Array, allowed: Sequence[Mask], half_width: int) -> Array:
    """`smooth` along one axis after the other: the mean over a box of neighbours, cut at the ends.

    Args:
        scores: shape (..., n_1, n_2, ...).
        allowed: for each axis, shape (n_k,).
        half_width: 0 leaves the scores as they are.
    """
    for axis, mask in enumerate(allowed, start=scores.ndim - len(allowed)):
        scores = np.moveaxis(smooth(np.moveaxis(scores, axis, -1), mask, half_width), -1, axis)
    return scores
