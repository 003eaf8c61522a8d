"""Answers that were not asked for, between such as were, of models along a line of weights.

Knows no candidates and no signals.
"""

from collections.abc import Sequence

import numpy as np

from adamms.engines.answer import DIGITS, Answer, Token
from adamms.search.resampling import Array


def along(
    known: Sequence[float], answers: Sequence[Answer], wanted: Sequence[float], bent: float
) -> list[Answer]:
    """Estimates of answers that have the same text and as many tokens as these.

    The logits of the tokens' probabilities lie on a natural cubic spline: over a short way they are smooth in
    the weights. The likeliest other tokens stay unknown.

    Args:
        known: where these answers are from, in increasing order.
        wanted: where the estimates are for; inside that range.
        bent: how far the spline is bent upwards between two that are known, because answers inside a stretch
            that says the same are surer than at its ends.
    """
    cuts = {answer.cut for answer in answers}
    cut = cuts.pop() if len(cuts) == 1 else None
    logs = np.array([[token.logprob for token in answer.tokens] for answer in answers])
    logits = logs - np.log(np.maximum(-np.expm1(logs), 10.0**-DIGITS))  # nothing is surer than can be kept
    right = np.searchsorted(known, wanted)
    share = (np.array(wanted) - np.take(known, right - 1)) / np.diff(known)[right - 1]
    curve = spline(known, wanted) @ logits + bent * (share * (1 - share))[:, None]
    found = -np.logaddexp(0.0, -curve)
    return [Answer(answers[0].text, tuple(Token(value, ()) for value in row), cut) for row in found.tolist()]


def spline(known: Sequence[float], wanted: Sequence[float]) -> Array:
    """What values at `known` count at `wanted` on a natural cubic spline; shape (wanted, known).

    Its second derivatives at the knots solve a tridiagonal system and are 0 at both ends (de Boor 1978, A
    Practical Guide to Splines, chapter IV). Between two knots it is a line.
    """
    count, steps = len(known), np.diff(known)
    left, right = np.eye(count), np.zeros((count, count))
    for place in range(1, count - 1):
        before, after = steps[place - 1 : place + 1]
        left[place, place - 1 : place + 2] = before, 2 * (before + after), after
        right[place, place - 1 : place + 2] = 6 / before, -6 / before - 6 / after, 6 / after
    second = np.linalg.solve(left, right)
    values = np.eye(count)
    after = np.clip(np.searchsorted(known, wanted), 1, count - 1)
    step = steps[after - 1][:, None]
    one = (np.take(known, after) - wanted)[:, None] / step
    other = 1 - one
    bends = (one**3 - one) * second[after - 1] + (other**3 - other) * second[after]
    found: Array = one * values[after - 1] + other * values[after] + bends * step**2 / 6
    return found
