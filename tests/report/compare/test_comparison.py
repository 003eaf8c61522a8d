"""Searches of a multirun side by side: what is read is what the runs found, and what is printed fits."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from page_text import Page

from adamms.errors import AdammsError
from adamms.evaluate.estimate import LEAST
from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import Candidate
from adamms.report.compare import comparison_tables, comparison_verdicts
from adamms.report.compare.comparison import Comparison, Row
from adamms.report.compare.pairing import gather
from adamms.report.console import Console
from adamms.report.files import RESULT
from adamms.report.report import write_comparison
from adamms.report.result import Hyperparameters, Result
from adamms.search.choice import Choice, Selection


def record(sweep: Path, number: int, *overrides: str, **how: Any) -> Path:
    """A job's record in the multirun's folder; returns its output folder."""
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    content = {"number": number, "overrides": list(overrides), "mode": "search", "output": str(folder)}
    content |= {"state": "done", "seconds": 1.5} | how
    (folder / "job.json").write_text(json.dumps(content))
    return folder


def leave(folder: Path, result: Result, method: str = "linear", **parameters: Any) -> None:
    """What a search leaves for a comparison."""
    merged = replace(result, hyperparameters=Hyperparameters(method, parameters, {"a": 0.5}))
    (folder / RESULT).write_text(json.dumps(merged.to_json()))


def lattice_result(result: Result) -> Result:
    """The same run over two parameters: every candidate also has a density."""

    def moved(candidate: Candidate) -> Candidate:
        return Candidate.of({"merge.density": 0.2, **candidate.settings})

    def choice(old: Choice) -> Choice:
        keyed = {moved(c): value for c, value in old.differences.items()}
        wins = {moved(c): value for c, value in old.wins.items()}
        return replace(
            old,
            candidate=moved(old.candidate),
            differences=keyed,
            wins=wins,
            tied=tuple(map(moved, old.tied)),
        )

    assert result.selection is not None
    assert result.evaluation is not None
    selection = Selection(
        {task: choice(old) for task, old in result.selection.tasks.items()}, choice(result.selection.overall)
    )
    evaluation = replace(
        result.evaluation,
        candidates={moved(c): scores for c, scores in result.evaluation.candidates.items()},
        target=result.evaluation.candidates[Candidate(0.0)],
    )
    return replace(result, selection=selection, evaluation=evaluation)


def gathered(folder: Path) -> Comparison:
    return gather([folder], folder)


def models(comparison: Comparison) -> list[Row]:
    """The first group's, without parents."""
    return [row for row in comparison.groups[0].rows if not row.parent]


def shown(comparison: Comparison, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width).comparison(comparison)
    return out.getvalue()


@pytest.mark.parametrize("several", [False, True], ids=["alpha", "density and alpha"])
def test_what_is_read_is_what_the_run_found(result: Result, tmp_path: Path, several: bool) -> None:
    run = lattice_result(result) if several else result
    leave(record(tmp_path, 0, "merge=ties"), run, "ties", density=0.2, scope="model")
    comparison = gathered(tmp_path)
    (found,) = comparison.runs
    assert found.result == replace(run, hyperparameters=found.found.hyperparameters)
    assert run.selection is not None
    (row,) = models(comparison)
    assert row.scores is not None
    assert row.scores.scores == run.scores_of(run.selection.overall.candidate)
    shares = "density=0.2, alpha=0.3" if several else "0.3"
    assert (row.name, row.method, row.shares) == (f"ties {shares}", "ties", shares)
    assert {row.name for row in comparison.groups[0].rows if row.parent} == {"target alone", "donor a alone"}


def test_models_are_named_by_what_differs_and_the_best_is_first(result: Result, tmp_path: Path) -> None:
    assert result.evaluation is not None
    for number in (10, 9, 2):
        lost = {
            candidate: Scores({task: score - number for task, score in scores.tasks.items()})
            for candidate, scores in result.evaluation.candidates.items()
        }
        worse = replace(result, evaluation=replace(result.evaluation, candidates=lost))
        leave(record(tmp_path, number, "model=custom", f"search.rule=r{number}"), worse)
    comparison = gathered(tmp_path)
    assert [run.number for run in comparison.runs] == [2, 9, 10]
    assert comparison.varying == ["search.rule"]
    assert [row.name for row in models(comparison)] == ["rule=r2", "rule=r9", "rule=r10"]
    table = comparison_tables.overview(comparison)
    assert table is not None
    mean = table.columns.index("mean")
    assert [row[mean].best for row in table.rows if row[0].text.startswith("rule")] == [True, False, False]
    # The targets' scores differ, as those of different seeds would: so they are three rows.
    assert sum(row[0].text.startswith("target alone (") for row in table.rows) == 3


def test_models_are_compared_with_the_best_over_the_same_examples(pointed: Result, tmp_path: Path) -> None:
    """The choice of one is much worse; those of others only by one and by five examples of 400."""
    assert pointed.evaluation is not None
    best = pointed.winner(None)
    own = pointed.scores_of(best)

    def unlucky(count: int) -> Scores:
        wrong = dict.fromkeys(list(own.points["read"])[:count], 0.0)
        return Scores.of({**own.points, "read": {**own.points["read"], **wrong}})

    found = (own, unlucky(1), pointed.scores_of(Candidate(1.0)), unlucky(LEAST - 1), unlucky(LEAST))
    for number, scores in enumerate(found):
        given = {**pointed.evaluation.candidates, best: scores}
        evaluation = replace(pointed.evaluation, candidates=given)
        leave(record(tmp_path, number, f"search.rule=r{number}"), replace(pointed, evaluation=evaluation))
    comparison = gathered(tmp_path)
    (group,) = comparison.groups
    assert [row.name for row in group.best] == ["rule=r0"]
    assert [row.name for row in group.not_told_apart if not row.parent] == ["rule=r1", "rule=r3"]
    table = comparison_tables.overview(comparison)
    assert table is not None
    versus = {row[0].text: row[table.columns.index("vs best")].text for row in table.rows}
    assert versus["rule=r0"] == "reference"
    gap = unlucky(1).estimate(less=own)
    assert gap is not None
    assert gap.interval is not None
    assert versus["rule=r1"] == f"{gap.value:+.1f} ({gap.interval[0]:.1f} to {gap.interval[1]:.1f})"
    (verdict,) = comparison_verdicts.verdicts(comparison)
    assert verdict.mood == "fair"
    assert "rule=r0 has the highest mean" in verdict.text
    assert "but is not told apart from rule=r1 (+0.2 points, 95 % interval" in verdict.text
    assert "nor from rule=r3" in verdict.text
    printed = shown(comparison)
    assert max(map(len, printed.splitlines())) <= 80
    page = Page(write_comparison(comparison)).text  # has a space where an element ends
    assert verdict.text.replace(" ", "") in page.replace(" ", "")


def test_a_real_difference_is_said_with_its_interval(pointed: Result, tmp_path: Path) -> None:
    assert pointed.selection is not None
    worse = replace(pointed.selection.overall, candidate=Candidate(0.9))
    leave(record(tmp_path, 0, "search.rule=sum"), pointed)
    leave(
        record(tmp_path, 1, "search.rule=either"),
        replace(pointed, selection=replace(pointed.selection, overall=worse)),
    )
    comparison = gather([tmp_path], tmp_path, "rule=either")
    gap = pointed.chosen.estimate(less=pointed.scores_of(Candidate(0.9)))
    assert gap is not None
    assert gap.interval is not None
    (group,) = comparison.groups
    assert group.reference is not None
    assert group.reference.name == "rule=either"
    assert group.difference(group.rows[0]) == gap
    with pytest.raises(
        AdammsError, match=r"mode.reference=rule: not the name of one model; there are: rule=sum"
    ):
        gather([tmp_path], tmp_path, "rule")


def test_a_donor_that_was_not_asked_is_said_to(result: Result, tmp_path: Path) -> None:
    assert result.evaluation is not None
    unasked = replace(
        result, evaluation=replace(result.evaluation, donors={}), not_asked={"a": "2 of 2 questions: ..."}
    )
    leave(record(tmp_path, 0, "search.rule=sum"), unasked)
    assert "not asked: donor a" in comparison_tables.legend(gathered(tmp_path))


def test_without_labels_the_choices_are_compared(result: Result, tmp_path: Path) -> None:
    for number, rule in enumerate(("sum", "either")):
        leave(record(tmp_path, number, f"search.rule={rule}"), replace(result, evaluation=None))
    comparison = gathered(tmp_path)
    assert comparison_tables.searches(comparison).columns == ("search", "chosen", "good", "D", "wins")
    assert [row.name for row in comparison.groups[0].rows] == ["rule=sum", "rule=either"]
    assert comparison_verdicts.verdicts(comparison) == []
    assert "best" not in shown(comparison).replace("of the best on the grid", "")


def test_a_doubtful_choice_is_said_with_its_search(result: Result, tmp_path: Path) -> None:
    assert result.selection is not None
    overall = result.selection.overall.doubted("Few examples.")
    doubtful = replace(result, selection=replace(result.selection, overall=overall))
    for number, run in enumerate((result, doubtful, doubtful)):
        leave(record(tmp_path, number, f"merge.density=0.{number}"), run)
    comparison = gathered(tmp_path)
    table = comparison_tables.searches(comparison)
    assert [row[table.columns.index("good")].text for row in table.rows] == ["100%", "50% LOW", "50% LOW"]
    assert "warning: density=0.1, density=0.2: Few examples." in shown(comparison)
    assert "density=0.1, density=0.2: Few examples." in Page(write_comparison(comparison)).text


def test_what_failed_is_half_finished_or_no_run_is_told_by_name(result: Result, tmp_path: Path) -> None:
    leave(record(tmp_path, 0, "merge=linear"), result)
    record(tmp_path, 1, "merge=ties", state="failed", error="merge=ties needs an ancestor")
    record(tmp_path, 2, "merge=sce", state="unfinished")
    broken = record(tmp_path, 3, "merge=tsv")
    leave(broken, result)
    (broken / RESULT).write_text('{"title": "t", "selection": {"overall": 3}}')
    record(tmp_path, 4, "merge=wudi")
    shared = tmp_path / "shared"
    for number in (5, 6):
        record(tmp_path, number, f"merge.alpha=0.{number}", output=str(shared))
    shared.mkdir()
    leave(shared, result)
    record(tmp_path, 7, "mode=plan", mode="plan")
    (tmp_path / "8").mkdir()
    (tmp_path / "8/plan.json").write_text("{}")
    (tmp_path / "pictures").mkdir()
    comparison = gathered(tmp_path)
    assert [run.result is not None for run in comparison.runs] == [True] + [False] * 8
    said = comparison_tables.failures(comparison)
    own = tmp_path.name
    expected = [
        f"run 1 ({own}/1): failed: merge=ties needs an ancestor",
        f"run 2 ({own}/2): unfinished: it still runs, or was killed",
        f"{broken / RESULT}: not what adamms writes",
        f"{tmp_path / '4' / RESULT}: cannot be read",
        f"{shared} is the output of several jobs",
        f"{shared} is the output of several jobs",
        "mode=plan leaves nothing to compare",
        f"({own}/8): unfinished",
        f"{tmp_path / 'pictures'}: no run",
    ]
    for words in dict.fromkeys(expected):
        assert sum(words in line for line in said) == expected.count(words), words
    assert len(said) == len(expected)
    assert shown(comparison).count("warning: ") == len(expected)
    text = Page(write_comparison(comparison)).text
    assert all(words in text for words in expected)


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (record(tmp_path, 0) / "job.json").write_text('{"mode": "search"}')
    file = record(tmp_path, 1) / "job.json"
    file.write_text(file.read_text().replace('"number": 1', '"number": "first"'))
    record(tmp_path, 2)
    lines = comparison_tables.failures(gathered(tmp_path))
    for number, line in enumerate(lines[:2]):
        assert f"{number}/job.json: not what adamms writes" in line


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_console(result: Result, tmp_path: Path, width: int) -> None:
    """Long names and long candidates, rows of differing parents, and a third thing that varies."""
    assert result.evaluation is not None
    for number, method in enumerate(("task_arithmetic", "breadcrumbs", "dare_linear")):
        target = Scores(dict.fromkeys(result.tasks, 50.0 + number))
        run = replace(result, evaluation=replace(result.evaluation, target=target))
        overrides = (f"merge={method}", f"search.rule=rule{number}", f"model.prepare.seed={number}")
        leave(record(tmp_path, number, *overrides), lattice_result(run) if number else run, method)
    printed = shown(gathered(tmp_path), width)
    assert max(map(len, printed.splitlines())) <= width
    # Folded or not, every row of every block says which model it is, and the means are whole.
    table = comparison_tables.overview(gathered(tmp_path))
    assert table is not None
    for row in table.rows:
        assert row[table.columns.index("mean")].text in printed


def test_the_files_hold_everything(result: Result, tmp_path: Path) -> None:
    leave(record(tmp_path, 0, "merge=linear"), result)
    leave(record(tmp_path, 1, "merge=ties"), lattice_result(result), "ties", density=0.2, scope="model")
    comparison = gathered(tmp_path)
    page = Page(write_comparison(comparison))
    parameters = page.tables["Hyper-parameters of the models"]
    assert ["ties", "ties", "a=0.5", "density=0.2, scope=model"] in parameters
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["varying"] == ["merge"]
    found = [run["found"] for run in content["runs"]]
    assert found[1]["selection"]["overall"]["candidate"].keys() == {"merge.density", "merge.alpha"}
    assert found[0]["numbers"]["all_score"] == found[1]["numbers"]["all_score"]
    assert content["groups"][0]["best"] == ["linear", "ties"]
    assert found[1]["parameters"] == {"density": 0.2, "scope": "model"}
