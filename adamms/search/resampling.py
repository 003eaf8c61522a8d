"""The bootstrap: sums over examples that are drawn anew with replacement. Pure arithmetic.

Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 13. Knows no scores and no tasks.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

INTERVAL = (2.5, 97.5)  # percentiles: 95 % of the resamples lie between them
SAME = 1e-9  # sums of fractions that differ by less are equal but for rounding
BLOCK = 100  # resamples that are in memory at once


def resampled_sums(values: Array, draws: int, resamples: int, seed: int | Sequence[int]) -> Array:
    """The sum of every row over examples drawn anew: in each resample the same examples for all rows.

    Args:
        values: shape (rows, examples).
        draws: how many examples a resample draws.
        resamples: how many resamples there are.
        seed: of the draws, which depend on it and on the three numbers above alone.

    Returns:
        Shape (resamples, rows).
    """
    rows, examples = values.shape
    generator, sums = np.random.default_rng(seed), np.empty((resamples, rows))
    for start in range(0, resamples, BLOCK):
        block = sums[start : start + BLOCK]
        drawn = generator.integers(examples, size=(len(block), draws))
        places = drawn + examples * np.arange(len(block))[:, None]  # in (block, examples), flat
        counts = np.bincount(places.ravel(), minlength=len(block) * examples)
        block[:] = counts.reshape(len(block), examples) @ values.T
    return sums
