"""How right a sample is, by what lmms-eval 0.7.3's tasks log of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.evaluate.lmms.right import of_pairs, right


def mmmu(answer: Any, parsed: Any, kind: str = "open") -> dict[str, Any]:
    return {"id": "validation_Art_1", "question_type": kind, "answer": answer, "parsed_pred": parsed}


@pytest.mark.parametrize(
    ("logged", "points"),
    [
        (0.3, 0.3),
        (True, 1.0),
        ("N/A", None),
        ({"question_id": 7, "answer": "what vizwiz_vqa hands in"}, None),
        ({"question_type": "Doc-oriented VQA", "score": 1, "prediction": "a", "ground_truth": ["a"]}, 1.0),
        ({"pred": "b ", "answer": "B", "question_id": "7"}, 1.0),  # seedbench
        ({"pred": "", "answer": "B", "question_id": "7"}, 0.0),
        (mmmu("B", ["B"], "multiple-choice"), 1.0),
        (mmmu("['B', 'C']", ["B"], "multiple-choice"), 0.0),  # the data's text; lmms-eval says the same
        (mmmu("24", [["24.00", 24.0]]), 1.0),
        (mmmu("1,000.004", [[1000.0]]), 1.0),
        (mmmu("Rome", [["it is rome", 3.0]]), 1.0),
        (mmmu("x", [["xylophone"]]), 0.0),  # of a single letter MMMU wants a space beside it
        (mmmu("x", [["x axis"]]), 1.0),
        (mmmu(["red", "blue"], [["green"], ["dark blue"]]), 1.0),
    ],
)
def test_what_a_sample_adds(logged: Any, points: float | None) -> None:
    assert right(logged) == points


def mme(logged: list[dict[str, Any]]) -> float:
    """As MME's own script adds it up: per category, 100 for all right and 100 for all right pairs."""
    total = 0.0
    for category in {each["category"] for each in logged}:
        pairs: dict[str, list[float]] = {}
        for each in logged:
            if each["category"] == category:
                pairs.setdefault(each["question_id"], []).append(each["score"])
        scores = [sum(pair) / 2 * 100 + (sum(pair) == 2) * 100 for pair in pairs.values()]
        total += sum(scores) / len(scores)
    return total


@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5), min_size=1, max_size=5
    )
)
def test_the_mean_of_mmes_points_is_its_score(categories: list[list[tuple[bool, bool]]]) -> None:
    logged = [
        {"category": f"c{c}", "question_id": f"q{p}", "score": float(score)}
        for c, pairs in enumerate(categories)
        for p, pair in enumerate(pairs)
        for score in pair
    ]
    points = of_pairs(logged)
    assert len(points) == sum(map(len, categories))
    assert sum(points.values()) / len(points) == pytest.approx(mme(logged) / (200 * len(categories)))
    assert of_pairs([*logged, {"score": 1.0}]) == {}
