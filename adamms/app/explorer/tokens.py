"""The tokens of an answer as text, with what else might have come in their place."""

from dataclasses import dataclass
from math import exp
from typing import Any

from adamms.engines.answer import Answer


@dataclass(frozen=True)
class Word:
    """One token of an answer.

    Args:
        text: as the tokenizer writes it.
        probability: that the model gave it.
        likeliest: (text, probability) of the likeliest tokens at its place, in falling order.
    """

    text: str
    probability: float
    likeliest: tuple[tuple[str, float], ...]


def words_of(answer: Answer, tokenizer: Any) -> tuple[Word, ...]:
    """The answer's tokens and its end; () where the engine gave no log-probabilities.

    Decoding is greedy: a token is the likeliest at its place.

    Args:
        tokenizer: of the model that answered, as transformers has it.
    """

    def text(token: int) -> str:
        return str(tokenizer.decode([token]))

    return tuple(
        Word(
            text(token.likeliest[0][0]) if token.likeliest else "",
            exp(token.logprob),
            tuple((text(name), exp(logprob)) for name, logprob in token.likeliest),
        )
        for token in answer.tokens
    )
