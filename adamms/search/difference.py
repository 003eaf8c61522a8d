"""How much two answers differ: 0 for the same, 1 for another answer."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Difference(Protocol):
    """A measure between two models' answers to the same examples."""

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
        """The difference of each pair of answers; shape (examples,), values in [0, 1]."""
        ...


class ExactMatch:
    """1 where the case-folded answers are not the same string (paper; the authors' `exact_match`)."""

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
        return np.array(
            [a.casefold() != b.casefold() for a, b in zip(left, right, strict=True)], dtype=np.float64
        )
