"""Answers between those that were asked: logits on a natural cubic spline."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from adamms.engines.answer import Answer, Token
from adamms.search.interpolation import along, spline

logprobs = st.floats(-2000.0, 0.0)


def said(*values: float) -> Answer:
    return Answer("a", tuple(Token(value, ((0, value),)) for value in values))


def logit(value: float) -> float:
    return value - math.log(max(-math.expm1(value), 1e-5))


@given(st.lists(st.integers(0, 40), min_size=2, max_size=8, unique=True), st.integers(0, 1000))
def test_the_spline_is_scipys(knots: list[int], seed: int) -> None:
    known = np.sort(knots) / 40
    wanted = np.linspace(known[0], known[-1], 7)
    values = np.random.default_rng(seed).normal(size=len(known))
    expected = CubicSpline(known, values, bc_type="natural")(wanted)
    np.testing.assert_allclose(spline(known, wanted) @ values, expected, atol=1e-9)


@given(one=logprobs, other=logprobs, share=st.floats(0.01, 0.99))
def test_logits_between_two_are_on_a_line_that_is_bent_upwards(
    one: float, other: float, share: float
) -> None:
    """Within 1e-5, below which log-probabilities are not kept, and float64's rounding of large ones."""
    (found,) = along([0.0, 1.0], [said(one), said(other)], [share], bent=0.5)
    (token,) = found.tokens
    assert min(one, other) - 2e-5 <= token.logprob <= 0
    wanted = (1 - share) * logit(one) + share * logit(other) + 0.5 * share * (1 - share)
    assert math.isclose(logit(token.logprob), wanted, rel_tol=1e-9, abs_tol=1.5)
    if wanted < 10:  # there `logit` is exact
        assert math.isclose(logit(token.logprob), wanted, rel_tol=1e-6, abs_tol=1e-6)
    assert token.likeliest == ()  # nothing is known of what else is likely


def test_every_token_for_itself_and_the_text_of_the_first() -> None:
    answers = [Answer("Yes", said(-1.0, -2.0).tokens), Answer("yes", said(-1.0, -4.0).tokens)]
    (found,) = along([0.0, 1.0], answers, [0.5], bent=1.0)
    assert found.text == "Yes"
    assert -1.0 < found.tokens[0].logprob < -0.7
    assert -4 < found.tokens[1].logprob < -2
    assert along([0.0, 1.0], [Answer("a"), Answer("a")], [0.3], bent=1.0) == [Answer("a")]


@pytest.mark.parametrize(
    ("one", "other", "cut"), [(True, True, True), (False, False, False), (True, False, None)]
)
def test_an_inferred_answer_is_cut_if_both_are(one: bool, other: bool, cut: bool | None) -> None:
    answers = [Answer("a", said(-1.0).tokens, one), Answer("a", said(-2.0).tokens, other)]
    assert along([0.0, 1.0], answers, [0.5], bent=0.0)[0].cut is cut
