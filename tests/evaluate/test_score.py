"""Scores of a model: the mean over each task's examples; options are scored in one way."""

import pytest
from configured import content

from adamms.app.config.build import build
from adamms.data.example import Example, Label
from adamms.errors import AdammsError
from adamms.evaluate.score import check_labels, measure, score_tasks
from adamms.evaluate.scorers import Anls, ExactAccuracy, Scorer
from adamms.evaluate.vqa import VqaAccuracy

LABELS = {
    "1": Label(("red",)),
    "2": Label(("B",), {"A": "red", "B": "blue"}, "data.jsonl, line 2"),
    "3": Label(("seventeen",)),
}
EXAMPLES = [Example("1", "open", "?"), Example("2", "choice", "?"), Example("3", "open", "?")]
TEXTS = {"1": "red", "2": "(B)", "3": "seventeem", "unlabelled": "x"}


def test_a_percentage_per_task() -> None:
    assert score_tasks(ExactAccuracy(), LABELS, EXAMPLES, TEXTS).tasks == {"open": 50, "choice": 100}


def test_parts_of_points_count_in_the_mean() -> None:
    scores = score_tasks(Anls(threshold=0.5), LABELS, EXAMPLES, TEXTS).tasks
    assert scores == {"open": pytest.approx(100 * (1 + 8 / 9) / 2), "choice": 100}


def test_labels_that_do_not_fit_are_named_by_their_lines() -> None:
    bad = Label(("C",), {"A": "red"}, "data.jsonl, line 7")
    check_labels(ExactAccuracy(), LABELS)
    with pytest.raises(AdammsError, match=r"bad labels:\n  data\.jsonl, line 7: the label 'C' names"):
        check_labels(ExactAccuracy(), LABELS | {"7": bad})
    few = Label(("red", "dark red"), place="data.jsonl, line 8")
    with pytest.raises(AdammsError, match=r"  data\.jsonl, line 8: the label has 2 answers; VQA accuracy"):
        check_labels(VqaAccuracy(), {"8": few})
    with pytest.raises(AdammsError, match="and 3 more"):
        check_labels(VqaAccuracy(), {str(number): few for number in range(8)})


@pytest.mark.parametrize("option", ["accuracy", "vqa", "anls", "token_f1", "extracted"])
def test_every_scorer_has_a_measure_and_options_have_theirs(option: str) -> None:
    scorer = build(content(f"evaluate/{option}")["scorer"], "evaluate.scorer", kind=Scorer)
    choice, plain = LABELS["2"], LABELS["1"]
    assert measure(scorer, [choice]) == "accuracy"
    assert measure(scorer, [plain]) == scorer.measure
    both = scorer.measure if option == "accuracy" else f"{scorer.measure}, of options accuracy"
    assert measure(scorer, [choice, plain]) == both
