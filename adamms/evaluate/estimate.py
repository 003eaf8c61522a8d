"""How exact scores and their differences are: the bootstrap over labelled examples. Pure arithmetic.

Examples are drawn anew with replacement, and the mean is taken again (Efron and Tibshirani 1993, An
Introduction to the Bootstrap, chapters 6 and 13). The draws depend on the task and its number of examples
alone: two models that answered the same examples are compared on the same draws, so that what both find hard
cancels out (paired bootstrap; Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation,
aclanthology.org/W04-3250). Every task is drawn from by itself, n - 1 of its n examples at a time, which makes
the variance of a mean over tasks unbiased however few examples each has (Rao and Wu 1988, Resampling
Inference with Complex Survey Data).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SEED = 0
BLOCKS, BLOCK = 20, 100  # 2000 resamples, by which a standard error is exact to 2 % of itself
INTERVAL = (2.5, 97.5)  # percentiles: 95 % of the resamples lie between them
SAME = 1e-9  # means of fractions that differ by less are equal but for rounding


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference between two, and how exact it is.

    >>> Estimate(1.2, 0.9, (-0.5, 3.1)).told_apart
    False

    Args:
        value: in points.
        error: its standard error; None if it is not known.
        interval: 95 % interval; None if it is not known.
    """

    value: float
    error: float | None = None
    interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, value: float, resampled: Array | None) -> "Estimate":
        """With the error and the interval that the resamples show.

        Args:
            resampled: the value in every resample; None if it is not known.
        """
        if resampled is None:
            return cls(value)
        low, high = np.percentile(resampled, INTERVAL)
        return cls(value, float(resampled.std()), (float(low), float(high)))

    @property
    def turned(self) -> "Estimate":
        """The same difference, with what is subtracted and from what in each other's place."""
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Estimate(-self.value, self.error, ends)

    @property
    def told_apart(self) -> bool:
        """Whether a difference is told apart from 0: the interval excludes it."""
        return self.interval is not None and (self.interval[0] > SAME or self.interval[1] < -SAME)


def resampled_means(points: Sequence[float], task: str) -> Array:
    """The mean over a task's examples in every resample; shape (resamples,).

    Args:
        points: of the examples, at least two, in an order that is the same for all models.
    """
    own, count = np.asarray(points, dtype=np.float64), len(points)
    generator = np.random.default_rng([SEED, *task.encode()])
    blocks = [own[generator.integers(count, size=(BLOCK, count - 1))].mean(1) for _ in range(BLOCKS)]
    return np.concatenate(blocks)
