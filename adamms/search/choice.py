"""What a search returns, and what a strategy is: the candidate that wins, per task and overall.

Made from answers alone. Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adamms.engines.responses import Candidate
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
    """

    candidate: Candidate
    differences: Mapping[Candidate, float]
    tied: tuple[Candidate, ...]
    confidence: float
    wins: Mapping[Candidate, float]
    examples: int
    because: str = NEIGHBOURS
    trust: "Trust | None" = None

    def to_json(self) -> dict[str, Any]:
        return {
            "alpha" if self.candidate.alpha_alone else "candidate": self.candidate.to_json(),
            "differences": {str(candidate): value for candidate, value in self.differences.items()},
            "confidence": self.confidence,
            "tied": [candidate.to_json() for candidate in self.tied],
            "wins": {str(candidate): share for candidate, share in self.wins.items()},
            "examples": self.examples,
            **({} if self.trust is None else {"because": self.because, "trust": vars(self.trust)}),
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
