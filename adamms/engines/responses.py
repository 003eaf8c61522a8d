"""Answers, and nothing else: what engines produce and all that the search ever sees."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adamms.errors import AdammsError
from adamms.merge.coefficients import check_alpha


@dataclass(frozen=True, order=True)
class Candidate:
    """One setting of the coefficients that the search tries: alpha, the donors' share."""

    alpha: float

    def __post_init__(self) -> None:
        check_alpha("alpha", self.alpha)

    def __str__(self) -> str:
        return f"{self.alpha:g}"


@dataclass(frozen=True)
class Responses:
    """Answer of every candidate to every example.

    Args:
        answers: candidate -> {example id -> text}. Every candidate has answered the same examples.
    """

    answers: Mapping[Candidate, Mapping[str, str]]

    def __post_init__(self) -> None:
        expected: set[str] | None = None
        for candidate, given in self.answers.items():
            expected = set(given) if expected is None else expected
            if set(given) != expected:
                odd = sorted(expected ^ set(given))[0]
                raise AdammsError(f"candidate {candidate} has not answered the same examples: {odd!r}")

    @property
    def candidates(self) -> list[Candidate]:
        """In increasing order."""
        return sorted(self.answers)

    def of(self, candidate: Candidate, examples: Iterable[str]) -> list[str]:
        """The candidate's answers to the examples with these ids, in this order."""
        given = self.answers[candidate]
        return [given[example] for example in examples]

    def restricted(self, examples: Sequence[str]) -> "Responses":
        """The answers to these examples only."""
        return Responses(
            {candidate: {e: given[e] for e in examples} for candidate, given in self.answers.items()}
        )
