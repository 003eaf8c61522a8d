"""Probabilities behind answers, for the signals that look at them."""

from collections.abc import Mapping, Sequence

import numpy as np

from adamms.engines.answer import Answer, Token
from adamms.errors import AdammsError
from adamms.search.evidence import Answers, Array


def log_probability(answer: Answer) -> float:
    """Of the whole answer (nats): the sum over its tokens.

    Raises:
        AdammsError: the engine was not asked for log-probabilities.
    """
    if not answer.tokens:
        raise AdammsError("this signal needs log-probabilities: search.logprobs=10")
    return sum(token.logprob for token in answer.tokens)


def log_probabilities(answers: Answers, examples: Sequence[str]) -> Array:
    """Of every answer: shape (examples,)."""
    return np.array([log_probability(answers[example]) for example in examples])


def sureness(answers: Answers, examples: Sequence[str]) -> Array:
    """The mean log-probability of each answer's tokens, which does not punish long answers: (examples,)."""
    lengths = np.array([len(answers[example].tokens) for example in examples])
    return log_probabilities(answers, examples) / lengths


def first_token(answer: Answer) -> dict[int, float]:
    """Token id -> probability, of the likeliest tokens at the first position."""
    log_probability(answer)  # raises if there are none
    return distribution(answer.tokens[0])


def distribution(token: Token) -> dict[int, float]:
    """Token id -> probability, of the likeliest tokens at its position."""
    return {name: float(np.exp(value)) for name, value in token.likeliest}


def entropy(answer: Answer) -> float:
    """Of the likeliest tokens (nats), summed over the positions."""
    log_probability(answer)  # raises if there are none
    values = [np.array([value for _, value in token.likeliest]) for token in answer.tokens]
    return float(sum(-(np.exp(value) * value).sum() for value in values))


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
