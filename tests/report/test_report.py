"""What a run writes to look at: the page of every kind of run, whole or absent, the same bytes every time."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from page_text import Page

from adamms.data.example import Example
from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.evaluate.foreign.results import Metric, ToolResults
from adamms.merge.candidate import Candidate
from adamms.report import findings
from adamms.report.answered import Answered
from adamms.report.files import RESULT
from adamms.report.report import write_report
from adamms.report.result import Hyperparameters, Result
from adamms.search.choice import Choice, Selection


def test_the_same_result_gives_the_same_bytes(answered: Result, tmp_path: Path):
    first, second = (write_report(tmp_path / name, answered) for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == ["report.html", "result.json"]


def test_a_result_reads_back_as_it_was(answered: Result, tmp_path: Path):
    """With everything that a run may have, odd letters, and candidates of one and of several numbers."""
    odd = Candidate(1 / 3, (("merge.density", 0.2),))
    texts = {odd: "half a letter: \ud83d", Candidate(0.3): "seven"}
    one = Answered(Example("id", "read", "what?", Path("a.png")), texts, "seven")
    lmms = ToolResults("0.7.3", "vllm", tmp_path, (Metric("mme", "perception", "none", 0.25, None, 10),), ())
    whole = replace(
        answered,
        answered=(*answered.answered, one),
        merged=odd,
        scores=Scores({"read": 50.0}),
        tools={"lmms_eval": lmms},
        hyperparameters=Hyperparameters("ties", {"density": 0.2, "rules": [1]}, {"a": 0.3}),
        notes=("a note",),
    )
    write_report(tmp_path, whole)
    assert Result.from_json(json.loads((tmp_path / RESULT).read_text())) == whole
    assert Result.from_json(Result("").to_json()) == Result("")
    before = whole.to_json()
    before |= {"lmms_eval": before.pop("tools")["lmms_eval"], "vlmevalkit": None}  # as until 0.10.0
    assert Result.from_json(before) == whole


def test_it_says_all_that_a_reader_needs(result: Result, tmp_path: Path):
    page = Page(write_report(tmp_path, result))
    for part in (result.target, result.donors["a"], "/models/a (llava_onevision)", result.load):
        assert part in page.text
    assert "as 0.6 has, over 400 examples" in page.text
    assert findings.control_finding(result) in page.text
    assert ["search", "12.3 s", "1100 answers", "89.1/s"] in page.tables["Time"]
    assert ["merge", "4.0 s", "15.2 GB", "3.80 GB/s"] in page.tables["Time"]
    assert page.text.index("read: Many ties.") < page.text.index("The choice, and how good it is")


def test_one_command_for_each_alpha_that_wins_a_task(result: Result):
    assert result.selection is not None
    pattern = re.compile(rf"{re.escape(result.command)} merge\.alpha=(\S+)  # (.+)")
    commands = [
        match.groups() for line in findings.merge_commands(result) if (match := pattern.fullmatch(line))
    ]
    told = {task: alpha for alpha, tasks in commands for task in tasks.split(", ")}
    assert told == {task: str(choice.candidate) for task, choice in result.selection.tasks.items()}
    assert len(commands) == len(set(told.values()))


def test_only_the_papers_d_is_said_to_count_changes(result: Result, tmp_path: Path):
    assert result.selection is not None
    choices = [*result.selection.tasks.items(), (None, result.selection.overall)]
    others = {task: replace(choice, counts_changes=False) for task, choice in choices}
    overall = others.pop(None)
    other = replace(result, selection=Selection({task: others[task] for task in result.tasks}, overall))
    pages = [write_report(tmp_path, found).read_text("utf-8") for found in (result, other)]
    for said, theirs in (
        ("D: answers that change between neighbouring alphas, all tasks", (True, False)),
        ("D: what speaks against each alpha, all tasks", (False, True)),
        ("D, changed answers", (True, False)),
        ("D, what speaks against it", (False, True)),
    ):
        assert tuple(said in page for page in pages) == theirs, said


def test_a_plan_and_a_merge_have_their_own_pages(result: Result, tmp_path: Path):
    merged = replace(result, evaluation=None, selection=None)
    page = Page(write_report(tmp_path, merged))
    assert "merged at alpha = 0.5" in page.text
    assert "The choice" not in page.text
    assert ["merge", "", "4", "197 k", "393 kB", "78%"] in page.tables["What becomes of the target's tensors"]
    plan = replace(merged, folder=None, load="", merged=None, command="")
    page = Page(write_report(tmp_path, plan))
    assert "78% of the target: 4 tensors, 393 kB" in page.text
    assert (
        "model.layers.{i}.mlp.up_proj.weight 4 x [384, 128] a: model.layers.{i}.mlp.up_proj.weight"
        in page.text
    )
    assert "Not measured" in page.text


def test_an_evaluation_of_one_model_has_its_scores(tmp_path: Path):
    scores = Scores({"read": 50.0, "spell": 75.0})
    page = Page(write_report(tmp_path, Result("t", scores=scores, notes=("Model: /m",))))
    assert page.tables["Scores (%)"] == [
        ["task", "score"],
        ["read", "50.0"],
        ["spell", "75.0"],
        ["mean", "62.5"],
    ]
    assert "What was evaluated Model: /m" in page.text


def test_one_task_and_three_alphas_are_enough(result: Result, tmp_path: Path):
    winner = result.candidates[1]
    only = Choice(winner, {winner: 0.0}, (winner,), 1.0, {winner: 1.0}, 1)
    evaluation = Evaluation(
        {c: Scores({"read": 50.0}) for c in result.candidates[:3]}, {"a": Scores({"read": 50.0})}, {}
    )
    small = replace(result, selection=Selection({"read": only}, only), evaluation=evaluation)
    page = Page(write_report(tmp_path, small))
    assert "over 1 example." in page.text
    assert "The better parent, the target, has 50.0 (difference 0.0 points; how exact" in page.text


def test_a_folder_that_cannot_be_written_is_named(result: Result, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AdammsError, match=r"file/result\.json: cannot be written"):
        write_report(tmp_path / "file", result)
