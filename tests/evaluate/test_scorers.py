"""Exact accuracy."""

import pytest

from adamms.errors import AdammsError
from adamms.evaluate.scorers import ExactAccuracy


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("red", "red", True),
        (" Red.\n", "red", True),
        ("RED", "red ", True),
        ("STRASSE", "straße", True),
        ("red .", "red", True),
        ("a  red\ncar", "A red car", True),
        ("reddish", "red", False),
        ("", "red", False),
        ("red..", "red", False),
        ("3.5", "35", False),
    ],
)
def test_case_spacing_and_a_final_stop_do_not_matter(answer: str, truth: str, right: bool) -> None:
    assert ExactAccuracy()({"1": answer}, {"1": truth}) == (100 if right else 0)


def test_a_percentage_over_the_examples_that_have_a_reference() -> None:
    answers = {"1": "a", "2": "b", "3": "c", "unlabelled": "x"}
    assert ExactAccuracy()(answers, {"1": "a", "2": "x", "3": "C"}) == pytest.approx(200 / 3)


def test_a_reference_without_an_answer_is_an_error() -> None:
    with pytest.raises(AdammsError, match="no answer to the example '2'"):
        ExactAccuracy()({"1": "a"}, {"1": "a", "2": "b"})


def test_no_references_is_an_error() -> None:
    with pytest.raises(AdammsError, match="at least one reference answer"):
        ExactAccuracy()({"1": "a"}, {})
