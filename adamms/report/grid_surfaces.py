"""What a search over several axes found, over every two of them: D, and the mean score.

Numbers only, for the picture in the report and the table in the page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adamms.merge.candidate import Candidate
from adamms.report import words
from adamms.report.result import RunResult


@dataclass(frozen=True)
class Quantity:
    """Something that every candidate has one number of.

    Args:
        name: for people.
        kind: "difference", where less is better, or "good", where more is.
        values: candidate -> number.
        words: a number as text.
    """

    name: str
    kind: str
    values: Mapping[Candidate, float]
    words: Callable[[float], str]

    def better(self, first: float, second: float) -> float:
        return min(first, second) if self.kind == "difference" else max(first, second)


def quantities(result: RunResult) -> list[Quantity]:
    """Those that the result has numbers of."""
    choice = result.choice(None)
    scores = result.evaluation.candidates if result.evaluation else {}
    means = {candidate: found.mean for candidate, found in scores.items()}
    found = [
        Quantity("D, all tasks", "difference", choice.differences if choice else {}, words.difference),
        Quantity(f"mean score ({result.unit})", "good", means, words.score),
    ]
    return [quantity for quantity in found if quantity.values]


def surface(
    quantity: Quantity, axes: Mapping[str, list[float]], pair: tuple[str, str]
) -> npt.NDArray[np.float64]:
    """The best value over the other axes, nan where there is none; shape (values of pair[1], of pair[0])."""
    best = np.full((len(axes[pair[1]]), len(axes[pair[0]])), np.nan)
    for candidate, value in quantity.values.items():
        x, y = (axes[key].index(candidate.settings[key]) for key in pair)
        best[y, x] = value if np.isnan(best[y, x]) else quantity.better(best[y, x], value)
    return best
