"""What a search returns, and what a strategy is: the candidate that wins, per task and overall.

Made from answers alone. Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adamms.merge.candidate import Candidate
from adamms.search.evidence import Ask

NEIGHBOURS = "its answers change least against its neighbours on the grid"


@dataclass(frozen=True)
class Trust:
    """How probably a choice is a good one.

    Args:
        probability: that the winner's accuracy is at most `tolerance` below the best candidate's.
        tolerance: in points.
    """

    probability: float
    tolerance: float


@dataclass(frozen=True)
class Several:
    """How several coefficients compare with the choice on the grid, over examples that no optimiser has seen.

    Args:
        single: the choice on the grid.
        best: the best that the optimiser found over the examples it saw; `single` where nothing was better.
        tried: how many candidates it asked.
        seen: how many examples it saw.
        examples: how many others they are compared on.
        differences: D of `single` and of `best` over those.
        confidence: share of bootstrap resamples of those in which `best` has the smaller D.
        level: from which confidence on `best` is taken.
    """

    single: Candidate
    best: Candidate
    tried: int
    seen: int
    examples: int
    differences: tuple[float, float]
    confidence: float
    level: float

    @property
    def better(self) -> bool:
        return self.best != self.single and self.confidence >= self.level

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"single": self.single.to_json(), "best": self.best.to_json()}


@dataclass(frozen=True)
class Choice:
    """The winner over one set of examples.

    Args:
        candidate: the winner.
        differences: candidate -> D, after smoothing; candidates that cannot win are left out.
        tied: the candidates with the winner's D, in order.
        confidence: share of bootstrap resamples of the examples in which the winner wins.
        wins: candidate -> share of resamples that it wins.
        examples: how many answers per candidate it was made from.
        because: why the winner wins, for people.
        trust: how probably the choice is a good one, if the strategy says so.
        several: whether several coefficients are better than one, if they were tried.
    """

    candidate: Candidate
    differences: Mapping[Candidate, float]
    tied: tuple[Candidate, ...]
    confidence: float
    wins: Mapping[Candidate, float]
    examples: int
    because: str = NEIGHBOURS
    trust: "Trust | None" = None
    several: "Several | None" = None

    def to_json(self) -> dict[str, Any]:
        return {
            "alpha" if self.candidate.alpha_alone else "candidate": self.candidate.to_json(),
            "differences": {str(candidate): value for candidate, value in self.differences.items()},
            "confidence": self.confidence,
            "tied": [candidate.to_json() for candidate in self.tied],
            "wins": {str(candidate): share for candidate, share in self.wins.items()},
            "examples": self.examples,
            **({} if self.trust is None else {"because": self.because, "trust": vars(self.trust)}),
            **({} if self.several is None else {"several": self.several.to_json()}),
        }


@dataclass(frozen=True)
class Selection:
    """One choice per task and one over all examples."""

    tasks: Mapping[str, Choice]
    overall: Choice

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": {task: choice.to_json() for task, choice in self.tasks.items()},
            "overall": self.overall.to_json(),
        }


class Selector(Protocol):
    """A search strategy: chooses among candidates by answers alone.

    Attributes:
        needs: as a signal's: what is asked for beside the candidates' answers.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if it could choose nothing on this grid, before any answer is made."""
        ...

    def search(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """The choice per task (name -> example ids) and over all, from what it asks of whom it asks.

        Raises:
            AdammsError: no tasks, or a task without examples.
        """
        ...
