"""A score, or a difference between two, and how exact it is. Knows no models and no tasks."""

from dataclasses import dataclass, replace

import numpy as np

from adamms.search.resampling import INTERVAL, SAME, Array

# On how many examples two models must differ. On fewer the sign test (Dixon and Mood 1946, The Statistical
# Sign Test, JASA 41) cannot tell them apart at 95 %, even if all speak for one: 2 x 0.5^6 < 0.05 < 2 x 0.5^5.
LEAST = 6


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference between two, and how exact it is.

    >>> Estimate(1.2, 0.9, (-0.5, 3.1), differing=30).told_apart
    False
    >>> Estimate(100.0, 0.0, (100.0, 100.0), differing=2).told_apart
    False

    Args:
        value: in points.
        error: its standard error; None if it is not known.
        interval: 95 % interval; None if it is not known.
        differing: of a difference, how many examples have another score by one model than by the other.
    """

    value: float
    error: float | None = None
    interval: tuple[float, float] | None = None
    differing: int = 0

    @classmethod
    def of(cls, value: float, resampled: Array | None, differing: int = 0) -> "Estimate":
        """With the error and the interval that the resamples show.

        Args:
            resampled: the value in every resample; None if it is not known.
            differing: as above.
        """
        if resampled is None:
            return cls(value)
        low, high = np.percentile(resampled, INTERVAL)
        return cls(value, float(resampled.std()), (float(low), float(high)), differing)

    @property
    def turned(self) -> "Estimate":
        """The same difference, with what is subtracted and from what in each other's place."""
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return replace(self, value=-self.value, interval=ends)

    @property
    def told_apart(self) -> bool:
        """Whether a difference is told apart from 0: the interval excludes it, over enough examples."""
        return self._excludes_0 and self.differing >= LEAST

    @property
    def of_few(self) -> bool:
        """Whether only too few examples keep a difference from being told apart from 0."""
        return self._excludes_0 and self.differing < LEAST

    @property
    def _excludes_0(self) -> bool:
        return self.interval is not None and (self.interval[0] > SAME or self.interval[1] < -SAME)
