"""Answers: what is the same one, and how sure one is that was not asked."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.engines.answer import BENT, Answer, Token, between, normalised, plain

logprobs = st.floats(-2000.0, 0.0)


def said(*values: float) -> Answer:
    return Answer("a", tuple(Token(value, ((0, value),)) for value in values))


def logit(value: float) -> float:
    return value - math.log(max(-math.expm1(value), 1e-5))


@given(one=logprobs, other=logprobs, share=st.floats(0.0, 1.0))
def test_logits_are_interpolated_and_bent_upwards(one: float, other: float, share: float) -> None:
    """Within 1e-5, below which log-probabilities are not kept, and float64's rounding of large ones."""
    (token,) = between(said(one), said(other), share).tokens
    assert min(one, other) - 2e-5 <= token.logprob <= 0
    wanted = (1 - share) * logit(one) + share * logit(other) + BENT * share * (1 - share)
    assert math.isclose(logit(token.logprob), wanted, rel_tol=1e-9, abs_tol=1.5)
    if wanted < 10:  # there `logit` is exact
        assert math.isclose(logit(token.logprob), wanted, rel_tol=1e-6, abs_tol=1e-6)
    assert token.likeliest == ()  # nothing is known of what else is likely


def test_every_token_for_itself_and_the_text_of_the_first() -> None:
    found = between(Answer("Yes", said(-1.0, -2.0).tokens), Answer("yes", said(-1.0, -4.0).tokens), 0.5)
    assert found.text == "Yes"
    assert -1.0 < found.tokens[0].logprob < -0.7
    assert -4 < found.tokens[1].logprob < -2


def test_where_tokens_do_not_go_together_the_nearer_answer_counts() -> None:
    one, other = said(-1.0), said(-1.0, -2.0)
    assert between(one, other, 0.5) is one
    assert between(one, other, 0.6) is other
    assert between(Answer("a"), Answer("a"), 0.3) == Answer("a")


@given(cut=st.sampled_from([None, True, False]), tokens=st.sampled_from([(), said(-0.5).tokens]))
def test_json_says_whether_an_answer_was_cut_where_that_is_known(
    cut: bool | None, tokens: tuple[Token, ...]
) -> None:
    """Records of stores that were made before do not know."""
    answer = Answer("a", tokens, cut)
    record = json.loads(json.dumps(answer.to_json()))
    assert Answer.from_json(record) == answer
    assert record.get("cut") is cut
    assert ("cut" in record) == (cut is not None)


def test_an_inferred_answer_is_cut_if_both_are() -> None:
    for one, other, expected in [(True, True, True), (False, False, False), (True, False, None)]:
        found = between(Answer("a", said(-1.0).tokens, one), Answer("a", said(-2.0).tokens, other), 0.5)
        assert found.cut is expected


def test_case_and_white_space_make_no_other_answer() -> None:
    assert normalised(" Stra\u00dfe\t 5\n") == normalised("STRASSE 5")
    assert normalised("a b") != normalised("ab")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\uff21\uff22 \uff11", "ab 1"),  # full-width
        ("don\u2019t \u201csay\u201d", 'don\'t "say"'),
        ("red\u200b\ufeff \u00adcar\ufe0f", "red car"),
        ("a\u00a0b\u3000c", "a b c"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u22125 \u2013 7", "-5 - 7"),
        ("\u2103", "\u00b0C"),
    ],
)
def test_what_only_looks_different_makes_no_other_answer(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("10\u00b2", "102"), ("H\u2082", "H2"), ("1\u00bd", "11/2")])
def test_what_means_something_else_is_another_answer(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_plain_text_keeps_case_and_lines() -> None:
    assert plain("\uff21.\nb  C\u200b") == "A.\nb  C"
