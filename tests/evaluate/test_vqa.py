"""VQA accuracy against the definition, worked examples, and lmms-eval's own code where it is installed."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.data.example import Label
from adamms.errors import AdammsError
from adamms.evaluate.vqa import CONTRACTIONS, VqaAccuracy, processed

LMMS_EVAL = sorted(Path(".venv/lmms-eval/lib").glob("python*/site-packages/lmms_eval/tasks/_task_utils"))


def accuracy(answer: str, *people: str) -> float:
    return VqaAccuracy()(answer, Label(people))


@pytest.mark.parametrize(
    ("agreeing", "points"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_among_ten_people(agreeing: int, points: float) -> None:
    people = ["red"] * agreeing + [f"colour {n}" for n in range(10 - agreeing)]
    assert accuracy("Red", *people) == pytest.approx(points)


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("The two dogs!", "2 dogs"),
        ("none", "0"),
        ("1,000", "1000"),
        ("a red-and-blue car", "red and blue car"),
        ("yes , sir", "yes sir"),
        ("3.5", "3.5"),
        ("end.", "end"),
        ("Dont\u200b", "don\u2019t"),
        ("couldn'tve", "couldn't've"),
    ],
)
def test_answers_are_processed_before_they_are_compared(answer: str, same: str) -> None:
    assert processed(answer) == processed(same)
    assert accuracy(answer, *[same] * 10) == 1


def test_what_changes_the_meaning_stays() -> None:
    assert processed("35") != processed("3.5")
    assert processed("well") == "well"


def test_an_empty_answer_is_never_right() -> None:
    assert accuracy(" ", *["the"] * 10) == 0


@given(st.sampled_from("abcd"), st.lists(st.sampled_from("bcde"), min_size=4, max_size=12))
def test_accuracy_is_the_mean_over_people_left_out(answer: str, people: list[str]) -> None:
    points = [
        min(1.0, sum(other == answer for place, other in enumerate(people) if place != out) / 3)
        for out in range(len(people))
    ]
    assert accuracy(answer, *people) == pytest.approx(sum(points) / len(points))


@pytest.mark.parametrize("people", [("red",), ("red", "red", "red")])
def test_answers_of_too_few_people_are_refused(people: tuple[str, ...]) -> None:
    with pytest.raises(AdammsError, match=rf"has {len(people)} answers?; .* at least 4.*evaluate=accuracy"):
        VqaAccuracy().check(Label(people))
    VqaAccuracy().check(Label((*people, *people, *people, "red")))


@pytest.mark.skipif(not LMMS_EVAL, reason="lmms-eval is not installed")
@given(st.text("aA the two1,.'-/(!?\n", max_size=15))
def test_processing_is_that_of_the_published_code(text: str) -> None:
    theirs = _published()
    plain = re.sub(r"\s+", " ", text).strip()
    assert processed(text) == theirs.process_digit_article(theirs.process_punctuation(plain))
    lower = {word: whole for word, whole in theirs.CONTRACTIONS.items() if word == word.lower()}
    assert {word: CONTRACTIONS.get(word, word) for word in lower} == lower | {"somethingd": "somethingd"}


def _published() -> Any:
    spec = importlib.util.spec_from_file_location("vqa_eval_metric", LMMS_EVAL[0] / "vqa_eval_metric.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EvalAIAnswerProcessor()
