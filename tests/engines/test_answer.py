"""Answers: what is the same one, and what is kept of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.engines.answer import Answer, Token, normalised, plain


def said(*values: float) -> Answer:
    return Answer("a", tuple(Token(value, ((0, value),)) for value in values))


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
