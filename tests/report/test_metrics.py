"""The numbers that trackers get: complete, equal to the result's, and under names that W&B can sort by."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.evaluate.foreign.results import Metric, ToolResults
from adamms.merge.candidate import Candidate
from adamms.report.result import Result, StageTiming
from adamms.report.trackers import metrics
from adamms.search.choice import Choice, Selection

SORTABLE = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


def test_D_is_called_by_its_signal_and_a_part_of_the_scores_by_another_name(result: Result) -> None:
    curves = metrics.curves(result, "consistency sum", part=True)
    assert set(curves.steps) == {"D_consistency_sum", "wins", "searched_score", "control"}


def test_of_whom_nothing_is_known_there_is_no_row(result: Result) -> None:
    """As of a choice before the end, whose candidate may be any."""
    overall = result.choice(None)
    assert overall is not None
    early = Selection({}, replace(overall, differences={}, wins={}))
    assert metrics.curves(Result("", selection=early)).rows == []


def test_one_row_per_candidate_with_alpha_as_the_axis(result: Result) -> None:
    curves = metrics.curves(result)
    assert curves.steps == dict.fromkeys(("D", "wins", "score", "control"), "alpha")
    assert [row["alpha"] for row in curves.rows] == [c.alpha for c in result.candidates]
    assert result.evaluation is not None
    for candidate, row in zip(result.candidates, curves.rows, strict=True):
        assert row["score/all"] == pytest.approx(result.evaluation.candidates[candidate].mean)
        for task in result.tasks:
            assert row[f"score/task_{task}"] == pytest.approx(result.score(candidate, task))
            choice = result.choice(task)
            assert choice is not None
            assert row.get(f"D/task_{task}") == choice.differences.get(candidate)
    assert "D/all" not in curves.rows[0]  # the ends have no D


def test_every_name_can_be_sorted_by(result: Result) -> None:
    for name in metrics.overall(result) | metrics.details(result):
        assert SORTABLE.fullmatch(name), name
    for name in {name for row in metrics.curves(result).rows for name in row}:
        assert all(SORTABLE.fullmatch(part) for part in name.split("/")), name


def test_choice_confidence_and_regret_of_every_task(result: Result) -> None:
    found = metrics.details(result)
    assert result.selection is not None
    for task, choice in result.selection.tasks.items():
        assert found[f"task_{task}_alpha"] == choice.candidate.alpha
        assert choice.trust is not None
        assert found[f"task_{task}_probability"] == choice.trust.probability
        assert found[f"task_{task}_doubts"] == len(choice.doubts)
        assert found[f"task_{task}_wins"] == pytest.approx(choice.confidence)
        assert found[f"task_{task}_regret"] == pytest.approx(result.regret(task).value)
    line = metrics.overall(result)
    assert line["all_regret"] == pytest.approx(result.regret(None).value)
    assert line["all_gain"] == pytest.approx(line["all_score"] - line["all_target_score"])
    assert line["all_alpha"] == 0.3


def test_beside_each_score_is_its_standard_error(pointed: Result) -> None:
    line = metrics.overall(pointed) | metrics.details(pointed)
    scores = [name for name in line if re.search("_(score|regret|gain|choice|oracle)$", name)]
    assert len(scores) > 30
    assert all(f"{name}_error" in line for name in scores)
    gain = pointed.chosen.estimate(less=pointed.target_scores)
    assert gain is not None
    assert (line["all_gain"], line["all_gain_error"]) == pytest.approx((gain.value, gain.error))
    row = metrics.curves(pointed).rows[2]
    found = pointed.scores_of(pointed.grid[2]).estimate("read")
    assert found is not None
    assert row["score_error/task_read"] == pytest.approx(found.error)
    assert "control_error/all" in row


def test_time_and_throughput_of_every_stage(result: Result) -> None:
    again = (*result.timings, StageTiming("search", 7.66, 900, "answers"), StageTiming("respond 0.3", 2.0))
    found = metrics.details(replace(result, timings=again))
    assert found["time_search_seconds"] == 20.0
    assert found["time_search_answers_per_second"] == 100.0
    assert found["time_merge_bytes_per_second"] == 3.8e9
    assert found["time_respond_seconds"] == 2.0
    assert found["time_total_seconds"] == 0.4 + 20.0 + 4.0 + 2.0


def grid_result(*axes: str) -> Result:
    """A search over a lattice of 3 x 3, or a line of 3."""
    values = (0.2, 0.4, 0.6)
    places = [(x,) for x in values] if len(axes) == 1 else [(x, y) for x in values for y in values]
    candidates = [Candidate.of(dict(zip(axes, place, strict=True))) for place in places]
    found = {c: float(index) for index, c in enumerate(candidates)}
    choice = Choice(candidates[0], found, (candidates[0],), 0.9, {candidates[0]: 0.9}, 10)
    scores = {c: Scores({"a b": 1.0 * index}) for index, c in enumerate(candidates)}
    return Result("grid", selection=Selection({"a b": choice}, choice), evaluation=Evaluation(scores, {}, {}))


def test_each_axis_of_a_grid_is_a_step_of_its_own() -> None:
    curves = metrics.curves(grid_result("merge.density", "merge.alpha"))
    assert curves.steps["D_over_density"] == "density"
    assert curves.steps["score_over_alpha"] == "alpha"
    assert len(curves.rows) == 9
    row = curves.rows[5]  # density 0.4, alpha 0.6
    assert (row["density"], row["alpha"]) == (0.4, 0.6)
    assert row["D_over_density/all"] == row["D_over_alpha/all"] == 5.0
    assert row["score_over_alpha/task_a_b"] == 5.0
    assert metrics.overall(grid_result("merge.density", "merge.alpha"))["all_density"] == 0.2


def test_one_other_axis_has_its_name_in_its_charts() -> None:
    curves = metrics.curves(grid_result("merge.density"))
    assert curves.steps == dict.fromkeys(
        ("D_over_density", "wins_over_density", "score_over_density"), "density"
    )


def test_tasks_that_differ_in_punctuation_stay_apart(result: Result) -> None:
    assert result.selection is not None
    choice = result.selection.overall
    tasks = dict.fromkeys(("a b", "a-b", "all", "ä"), choice)
    found = metrics.details(Result("odd", selection=Selection(tasks, choice)))
    assert len([name for name in found if name.endswith("_wins")]) == 4
    assert "task_all_wins" in found


def test_a_run_without_search_or_labels_has_what_there_is(result: Result) -> None:
    assert metrics.overall(Result("nothing")) == metrics.details(Result("nothing")) == {}
    assert metrics.curves(Result("nothing")).rows == []
    unlabelled = metrics.overall(replace(result, evaluation=None))
    assert set(unlabelled) == {*("all_alpha", "all_probability", "all_doubts", "all_wins", "all_D")}
    assert metrics.doubts(result) == {"task_read_doubts_in_words": "Few examples. Many ties."}
    assert metrics.details(replace(result, selection=None, evaluation=None))["plan_merged_tensors"] == 4


def test_what_lmms_eval_found_has_names_of_its_own() -> None:
    numbers = (
        Metric("mme", "perception", "none", 1500.5, None, 10, True),
        Metric("gqa-lite", "exact_match", "strict-match", 0.25, 0.01, 4, True),
    )
    found = ToolResults("0.7.3", "vllm", Path("logs"), numbers, ())
    row = metrics.details(
        Result("t", tools={"lmms_eval": found}, scores=Scores({"read it": 50.0, "add": 100.0}))
    )
    assert row == {
        "lmms_eval_mme_perception": 1500.5,
        "lmms_eval_gqa_lite_exact_match_strict_match": 0.25,
        "lmms_eval_gqa_lite_exact_match_strict_match_error": 0.01,
        "task_read_it_score": 50.0,
        "task_add_score": 100.0,
        "all_score": 75.0,
    }


def test_what_a_donor_was_not_asked_has_words(result: Result) -> None:
    told = metrics.not_asked(replace(result, not_asked={"r1-qwen": "2 of 2 questions: ..."}))
    assert told == {"donor_r1_qwen_not_asked": "2 of 2 questions: ..."}


def test_numbers_have_no_digits_that_come_from_rounding() -> None:
    assert metrics.rounded({"score": 95.30000000000001, "count": 3}) == {"score": 95.3, "count": 3}
    assert metrics.progress(StageTiming("search", 3.0, 30, "answers")) == {
        "progress/search_answers": 30,
        "progress/search_answers_per_second": 10.0,
    }
