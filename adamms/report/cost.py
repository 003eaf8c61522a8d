"""What a search asked models for: plain data. Knows no engines."""

from collections.abc import Iterable
from dataclasses import dataclass

from adamms.engines.answer import Answer


@dataclass(frozen=True)
class Cost:
    """What a search asked models for, whether it was made now or was in the store.

    Args:
        answers: how many answers were generated.
        tokens: of all answers, their ends included; None where log-probabilities were not asked for.
        scores: how many given texts were scored.
        scored_tokens: of all scored texts, their ends included.
    """

    answers: int
    tokens: int | None
    scores: int = 0
    scored_tokens: int = 0

    @classmethod
    def of(cls, answers: Iterable[Answer], scored: Iterable[Answer]) -> "Cost":
        """The cost of generated answers and of scored texts.

        >>> from adamms.engines.answer import Token
        >>> Cost.of([Answer("red")], [Answer("red", (Token(-0.1, ()), Token(-0.2, ())))])
        Cost(answers=1, tokens=None, scores=1, scored_tokens=2)
        """
        generated, given = ([len(answer.tokens) for answer in each] for each in (answers, scored))
        return cls(len(generated), sum(generated) if all(generated) else None, len(given), sum(given))
