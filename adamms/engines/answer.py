"""One answer: its text and, where the engine was asked for them, the log-probabilities behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Digits after the point that log-probabilities are kept with: more of them is noise of the arithmetic.
DIGITS = 5
# Least squares gave 1.35 on answers of the suite's development seeds 0 to 4 (`tests/benchmarks/signals.py`).
BENT = 1.3


@dataclass(frozen=True)
class Token:
    """One generated token and what else might have come in its place.

    Args:
        logprob: of the token, natural logarithm.
        likeliest: (token id, log-probability) of the likeliest tokens at its place, in falling order.
    """

    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Args:
        text: decoded, without special tokens and white space around it.
        tokens: of the text and of the end; () where no log-probabilities were asked for.
    """

    text: str
    tokens: tuple[Token, ...] = ()


def normalised(text: str) -> str:
    """What decides whether two answers are the same: the text without case and with single spaces.

    >>> normalised(" Yes,  it IS ") == normalised("yes, it is")
    True
    """
    return " ".join(text.casefold().split())


def token(chosen: int, likeliest: Mapping[int, float], logprob: float, count: int) -> Token:
    """A token as it is kept: the `count` likeliest, the lower id first among equals.

    Args:
        chosen: id of the generated token.
        likeliest: token id -> log-probability; `chosen` among them or not.
        logprob: of `chosen`.
    """
    rounded = {name: round(value, DIGITS) for name, value in likeliest.items()}
    rounded[chosen] = round(logprob, DIGITS)
    order = sorted(rounded.items(), key=lambda item: (-item[1], item[0]))
    return Token(rounded[chosen], tuple(order[:count]))


def between(one: Answer, other: Answer, share: float) -> Answer:
    """What may be said `share` of the way from one to the other, which say the same.

    Of the tokens' probabilities the logits are interpolated, as those of a model are nearly linear in its
    weights over a short way, and bent upwards by `BENT`: inside a stretch that says the same, it is said more
    surely. Of what else is likely nothing is known. Where tokens do not go together, the nearer one's count.
    """
    if len(one.tokens) != len(other.tokens):
        return one if share <= 0.5 else other
    pairs = zip(one.tokens, other.tokens, strict=True)
    return Answer(one.text, tuple(Token(_between(a.logprob, b.logprob, share), ()) for a, b in pairs))


def _between(one: float, other: float, share: float) -> float:
    """The log-probability whose logit lies `share` of the way from the one's to the other's, and above it."""
    known = np.array([one, other])
    logits = known - np.log(np.maximum(-np.expm1(known), 10.0**-DIGITS))  # nothing is surer than can be kept
    return -float(np.logaddexp(0.0, -logits @ [1 - share, share] - BENT * share * (1 - share)))


def texts(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Example id -> text."""
    return {example: answer.text for example, answer in answers.items()}


def to_json(tokens: Sequence[Token]) -> list[list[object]]:
    """Plain data: [log-probability, [[id, log-probability], ...]] for each token."""
    return [[one.logprob, [list(pair) for pair in one.likeliest]] for one in tokens]


def from_json(data: object) -> tuple[Token, ...]:
    """The tokens of `to_json`.

    Raises:
        ValueError, TypeError: anything else.
    """
    if not isinstance(data, list):
        raise ValueError("no list of tokens")
    return tuple(
        Token(float(logprob), tuple((int(name), float(value)) for name, value in likeliest))
        for logprob, likeliest in data
    )
