"""What a search tries, and on which examples: grids of candidates, and the random subset of the examples."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

from adamms.errors import AdammsError
from adamms.merge.candidate import ALPHA, Candidate, axes_of

Places = npt.NDArray[np.int_]


@dataclass(frozen=True)
class Axis:
    """The range of a coefficient.

    >>> Axis(0, 2, start=1).value(0.12345)
    0.247

    Args:
        lowest, highest: both included.
        start: its value in candidates that do not set it.
    """

    lowest: float
    highest: float
    start: float

    def value(self, place: float) -> float:
        """The value at a place in [0, 1], rounded to about a thousandth of the range."""
        span = self.highest - self.lowest
        value = round(self.lowest + place * span, 3 - math.floor(math.log10(span)))
        return min(max(value, self.lowest), self.highest)

    def place(self, value: float) -> float:
        return (value - self.lowest) / (self.highest - self.lowest)


def grid(alphas: Sequence[float]) -> list[Candidate]:
    """The candidates in increasing order.

    Raises:
        AdammsError: no alphas, or alphas that do not increase or lie outside [0, 1].
    """
    candidates = [Candidate(alpha) for alpha in alphas]
    if not candidates or any(a >= b for a, b in pairwise(candidates)):
        raise AdammsError(f"search.grid is {list(alphas)}; expected increasing alphas in [0, 1]")
    return candidates


def lattice(axes: Mapping[str, Sequence[float]]) -> list[Candidate]:
    """Every combination of one value from each axis, in increasing order.

    >>> [str(candidate) for candidate in lattice({"merge.density": [0.1, 0.2], "merge.alpha": [0.5]})]
    ['density=0.1, alpha=0.5', 'density=0.2, alpha=0.5']

    Args:
        axes: key of the configuration -> its values.

    Raises:
        AdammsError: no axes, an axis without values, or values that are not increasing numbers.
    """
    if not axes:
        raise AdammsError("search.grid has no axes; expected alphas, or {key of merge: values}")
    if list(axes) == [ALPHA]:
        return grid(axes[ALPHA])
    for key, values in axes.items():
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if not values or not numbers or not all(map(math.isfinite, values)):
            raise AdammsError(f"search.grid: {key} is {list(values)}; expected numbers")
        if any(a >= b for a, b in pairwise(values)):
            raise AdammsError(f"search.grid: {key} is {list(values)}; expected increasing numbers")
    combinations = product(*axes.values())
    return sorted(Candidate.of(dict(zip(axes, values, strict=True))) for values in combinations)


def shape_of(candidates: Sequence[Candidate]) -> tuple[int, ...]:
    """The number of values on every axis of a grid; the last axis changes fastest.

    Args:
        candidates: in increasing order.

    Raises:
        AdammsError: they are not all combinations of their settings' values.
    """
    axes = axes_of(candidates)
    if list(candidates) != lattice(axes):
        raise AdammsError(
            f"{len(candidates)} candidates are no grid; expected all combinations of "
            + ", ".join(f"{len(values)} values of {key}" for key, values in axes.items())
        )
    return tuple(map(len, axes.values()))


def lines_of(candidates: Sequence[Candidate]) -> dict[int, Places]:
    """For each axis with several values the candidates' places, that axis first: (values, other axes ...)."""
    shape = shape_of(candidates)
    places = np.arange(len(candidates)).reshape(shape)
    return {axis: np.moveaxis(places, axis, 0) for axis, count in enumerate(shape) if count > 1}


def subset(examples: Sequence[tuple[str, str]], per_task: int | None, seed: int) -> dict[str, list[str]]:
    """Task -> ids of the examples that the search looks at, in the order of the data.

    Args:
        examples: (id, task) of each example.
        per_task: at most this many of each task, drawn at random; None for all. The paper draws 100.
        seed: of the draw. A task's draw depends only on the seed and on that task's examples.
    """
    tasks: dict[str, list[str]] = {}
    for example, task in examples:
        tasks.setdefault(task, []).append(example)
    if per_task is None:
        return tasks
    drawn = {}
    for task, ids in tasks.items():
        chosen = set(random.Random(f"{seed} {task}").sample(ids, min(per_task, len(ids))))
        drawn[task] = [example for example in ids if example in chosen]
    return drawn
