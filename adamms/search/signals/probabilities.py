"""Probabilities behind answers, for the signals that look at them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from adamms.engines.answer import Answer, Token
from adamms.errors import AdammsError
from adamms.search.evidence import Answers
from adamms.search.resampling import Array

Tokens = Literal["mean", "sum"]


def log_probability(answer: Answer) -> float:
    """Of the whole answer (nats): the sum over its tokens.

    Raises:
        AdammsError: the engine was not asked for log-probabilities.
    """
    _check(answer)
    return answer.logprob


def log_probabilities(answers: Answers, examples: Sequence[str]) -> Array:
    """Of every answer: shape (examples,)."""
    return np.array([log_probability(answers[example]) for example in examples])


def sureness(answers: Answers, examples: Sequence[str], tokens: Tokens) -> Array:
    """How sure each answer is by the log-probabilities of its tokens: shape (examples,).

    Args:
        tokens: their `mean`, which does not punish long answers but is near 0 for all that share many tokens;
            or their `sum`, that of the whole answer.
    """
    sums = log_probabilities(answers, examples)
    return sums / [len(answers[example].tokens) for example in examples] if tokens == "mean" else sums


def first_token(answer: Answer) -> dict[int, float]:
    """Token id -> probability, of the likeliest tokens at the first position."""
    _check(answer)
    return distribution(answer.tokens[0])


def distribution(token: Token) -> dict[int, float]:
    """Token id -> probability, of the likeliest tokens at its position."""
    return {name: float(np.exp(value)) for name, value in token.likeliest}


def entropy(answer: Answer) -> float:
    """Of the likeliest tokens (nats), summed over the positions."""
    _check(answer)
    values = [np.array([value for _, value in token.likeliest]) for token in answer.tokens]
    return float(sum(-(np.exp(value) * value).sum() for value in values))


def _check(answer: Answer) -> None:
    """Raise AdammsError unless the log-probabilities of its tokens are known."""
    if not answer.tokens:
        raise AdammsError("this signal needs log-probabilities: search.logprobs=10")


def jensen_shannon(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Divergence of two distributions (nats). Tokens that a distribution does not list have probability 0."""
    names = sorted(one.keys() | other.keys())
    left = np.array([one.get(name, 0.0) for name in names])
    right = np.array([other.get(name, 0.0) for name in names])
    middle = (left + right) / 2
    total = 0.0
    for side in (left, right):
        known = side > 0
        total += float((side[known] * np.log(side[known] / middle[known])).sum()) / 2
    return max(0.0, total)
