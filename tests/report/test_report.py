"""The report: complete, linked, equal to the data, and the same bytes every time."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.report import words
from adamms.report.report import markdown, write_report
from adamms.report.result import RunResult
from adamms.search.choice import Choice, Selection, Trust


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


def cells(text: str, title: str) -> list[list[str]]:
    """The rows of the table under this title, without bold and marks."""
    body = text.split(f"**{title}")[1].split("\n\n")[1]
    return [[cell.strip(" *▲") for cell in line.strip("|").split("|")] for line in body.splitlines()]


def test_pictures_are_linked_and_decode(result: RunResult, folder: Path):
    report = write_report(folder, result)
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", report.read_text(encoding="utf-8"))
    assert links == ["plots/overall.png", "plots/tasks.png", "plots/confidence.png"]
    assert sorted((folder / "plots").iterdir()) == sorted(folder / link for link in links)
    for link in links:
        with Image.open(folder / link) as image:
            image.load()
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(maxcolors=1_000_000)) > 10


def test_the_same_result_gives_the_same_bytes(result: RunResult, folder: Path, tmp_path: Path):
    first, second = write_report(folder, result).parent, write_report(tmp_path, result).parent
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert len(files) == 5
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_tables_hold_the_numbers_of_the_data(result: RunResult):
    text = markdown(result, [])
    assert result.evaluation is not None
    assert result.selection is not None
    head, _, *rows = cells(text, "Scores (%)")
    assert head == ["alpha", "mean", "D", *result.tasks]
    found = {row[0]: row[1:] for row in rows}
    for candidate, scores in result.evaluation.candidates.items():
        label = {0.0: "0 target", 0.1: "0.1 fixed"}.get(candidate.alpha, str(candidate))
        assert found[label][0] == f"{scores.mean:.1f}"
        assert found[label][2:] == [f"{value:.1f}" for value in scores.tasks.values()]
    chosen = {row[0]: row[1] for row in cells(text, "The choice, one winner")[2:]}
    assert chosen == {t: str(c.candidate) for t, c in result.selection.tasks.items()} | {"ALL TASKS": "0.3"}


def test_only_the_choice_and_the_oracle_are_marked(result: RunResult):
    text = markdown(result, [])
    table = text.split("**Scores (%)")[1].split("\n\n")[1].splitlines()
    index = next(i for i, task in enumerate(table[0].split("|")) if task.strip() == "successor")
    column = [line.split("|")[index].strip() for line in table[2:]]
    assert [cell for cell in column if cell.startswith("**")] == ["**93.0** ▲"]
    assert sum("▲" in cell for cell in column) == 2  # the oracle, and the choice that is as good


def test_it_says_all_that_a_reader_needs(result: RunResult):
    text = markdown(result, [])
    for heading in ("What was merged", "The choice", "Results", "The control", "How sure", "Mapping", "Time"):
        assert f"\n## {heading}" in text
    for part in (result.target, result.donors["a"], "/models/a (llava\\_onevision)".replace("\\", "")):
        assert part in text
    assert "UNCERTAIN" in text
    assert "It ties with 0.6" in text
    assert words.control_finding(result) in text
    assert f"```python\n{result.load}\n```" in text
    assert "| search | 12.3 s | 1100 answers | 89.1/s |" in text
    assert "| merge | 4.0 s | 15.2 GB | 3.80 GB/s |" in text


def test_one_command_for_each_alpha_that_wins_a_task(result: RunResult):
    text = markdown(result, [])
    assert result.selection is not None
    commands = re.findall(rf"^{re.escape(result.command)} merge\.alpha=(\S+)  # (.+)$", text, re.MULTILINE)
    told = {task: alpha for alpha, tasks in commands for task in tasks.split(", ")}
    assert told == {task: str(choice.candidate) for task, choice in result.selection.tasks.items()}
    assert len(commands) == len(set(told.values()))


def test_without_labels_there_is_no_talk_of_scores(result: RunResult, tmp_path: Path):
    report = write_report(tmp_path, replace(result, evaluation=None))
    text = report.read_text(encoding="utf-8")
    for word in ("oracle", "regret", "By labels", "## The control", "labelled", "▲"):
        assert word not in text
    assert cells(text, "D: answers that change")[2][:3] == ["0.1", "31", "0%"]
    assert all((tmp_path / link).is_file() for link in re.findall(r"\]\((plots/[^)]+)\)", text))


def test_only_the_papers_d_is_said_to_count_changes(result: RunResult, tmp_path: Path):
    """A choice that says how good it is was made by another signal."""
    assert result.selection is not None
    tasks = {task: replace(c, trust=Trust(0.9, 2.0)) for task, c in result.selection.tasks.items()}
    overall = replace(result.selection.overall, trust=Trust(0.9, 2.0), because="of another signal")
    other = replace(result, selection=Selection(tasks, overall))
    pages = []
    for name, found in (("paper", result), ("other", other)):
        report = write_report(tmp_path / name, found)
        pages.append(report.read_text(encoding="utf-8") + report.with_suffix(".html").read_text("utf-8"))
    for said, theirs in (
        ("D: answers that change between neighbouring alphas, all tasks", (True, False)),
        ("D: what speaks against each alpha, all tasks", (False, True)),
        ("D, changed answers", (True, False)),
        ("D, what speaks against it", (False, True)),
    ):
        assert tuple(said in page for page in pages) == theirs, said


def test_a_plain_merge_is_reported_too(result: RunResult, tmp_path: Path):
    report = write_report(tmp_path, replace(result, evaluation=None, selection=None))
    text = report.read_text(encoding="utf-8")
    assert "merged at alpha = 0.5" in text
    assert "## The choice" not in text
    assert "![" not in text
    assert list((tmp_path / "plots").iterdir()) == []


def test_an_evaluation_without_a_search_is_reported_too(result: RunResult, tmp_path: Path):
    text = write_report(tmp_path, replace(result, selection=None)).read_text(encoding="utf-8")
    assert cells(text, "Scores (%)")[0][:2] == ["alpha", "mean"]
    assert "plots/overall.png" in text
    assert "plots/confidence.png" not in text


def test_one_task_and_three_alphas_are_enough(result: RunResult, tmp_path: Path):
    assert result.evaluation is not None
    winner = result.candidates[1]
    only = Choice(winner, {winner: 0.0}, (winner,), 1.0, {winner: 1.0}, 1)
    evaluation = Evaluation(
        {c: Scores({"read": 50.0}) for c in result.candidates[:3]}, {"a": Scores({"read": 50.0})}, {}
    )
    small = replace(result, selection=Selection({"read": only}, only), evaluation=evaluation)
    text = write_report(tmp_path, small).read_text(encoding="utf-8")
    assert "over 1 example." in text
    assert "NOT better than the target alone" in text
    assert "plots/tasks.png" not in text


def test_names_cannot_break_the_markdown(result: RunResult):
    assert result.selection is not None
    odd = "a|b*c\nrm -rf `x`"
    tasks = {odd: result.selection.tasks["read"]}
    text = markdown(replace(result, selection=replace(result.selection, tasks=tasks), evaluation=None), [])
    assert r"| a\|b\*c rm -rf \`x\` | 0.1 |" in text
    assert "\nrm" not in text


def test_a_folder_that_cannot_be_written_is_named(result: RunResult, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AdammsError, match=r"file/report\.md: cannot be written"):
        write_report(tmp_path / "file", result)


def test_matplotlib_is_not_imported_before_something_is_drawn():
    code = "import sys, adamms.report.report, adamms.report.console; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
