"""Answers, and nothing else: what engines produce and all that the search ever sees."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from adamms.engines.answer import Answer, Token, texts
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate


@dataclass(frozen=True)
class Responses:
    """Answer of every candidate to every example.

    Args:
        answers: candidate -> {example id -> text}. Every candidate has answered the same examples.
        tokens: the same with the log-probabilities of the answers' tokens; {} where nobody asked for them.
    """

    answers: Mapping[Candidate, Mapping[str, str]]
    tokens: Mapping[Candidate, Mapping[str, tuple[Token, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected: set[str] | None = None
        for candidate, given in self.answers.items():
            expected = set(given) if expected is None else expected
            if set(given) != expected:
                odd = sorted(expected ^ set(given))[0]
                raise AdammsError(f"candidate {candidate} has not answered the same examples: {odd!r}")

    @classmethod
    def of_engine(cls, answers: Mapping[Candidate, Mapping[str, Answer]]) -> "Responses":
        """What an engine has said."""
        known = any(answer.tokens for given in answers.values() for answer in given.values())
        tokens = {c: {e: a.tokens for e, a in given.items()} for c, given in answers.items()}
        return cls({c: texts(given) for c, given in answers.items()}, tokens if known else {})

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
            {candidate: {e: given[e] for e in examples} for candidate, given in self.answers.items()},
            {candidate: {e: given[e] for e in examples} for candidate, given in self.tokens.items()},
        )
