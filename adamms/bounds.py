"""Ranges of numbers, written into annotations, so that configured values are checked before any work.

Knows nothing of who is configured; `arguments` reads them.
"""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """From `least` to `most`, both included; with `above` without `least` itself."""

    least: float
    most: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.least if self.above else value >= self.least) and value <= self.most

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"in {'(' if self.above else '['}{self.least:g}, {self.most:g}]"
        return f"{'above' if self.above else 'at least'} {self.least:g}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1, above=True)]
