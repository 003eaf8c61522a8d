"""A multirun's searches side by side: what is read is what the runs found, and what is printed fits."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from page_text import Page

from adamms.errors import AdammsError
from adamms.evaluate.estimate import LEAST
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.merge.candidate import Candidate
from adamms.report import comparison_tables
from adamms.report.comparison import Comparison, gather
from adamms.report.console import Console
from adamms.report.report import write_comparison
from adamms.report.result import RESULT, Hyperparameters, Result
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


def shown(comparison: Comparison, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width).comparison(comparison)
    return out.getvalue()


@pytest.mark.parametrize("several", [False, True], ids=["alpha", "density and alpha"])
def test_what_is_read_is_what_the_run_found(result: Result, tmp_path: Path, several: bool) -> None:
    run = lattice_result(result) if several else result
    leave(record(tmp_path, 0, "merge=ties"), run, "ties", density=0.2, scope="model")
    (job,) = gather(tmp_path).jobs
    assert job.result == replace(run, hyperparameters=job.result.hyperparameters if job.result else None)
    assert run.selection is not None
    assert job.score == run.score(run.selection.overall.candidate, None)
    assert run.evaluation is not None
    assert job.best_donor == run.evaluation.donors["a"]


def test_jobs_are_in_order_labelled_by_what_differs_and_the_best_is_marked(
    result: Result, tmp_path: Path
) -> None:
    assert result.evaluation is not None
    for number in (10, 9, 2):
        lost = {
            candidate: Scores({task: score - number for task, score in scores.tasks.items()})
            for candidate, scores in result.evaluation.candidates.items()
        }
        worse = replace(result, evaluation=replace(result.evaluation, candidates=lost))
        leave(record(tmp_path, number, "model=custom", f"search.rule=r{number}"), worse)
    comparison = gather(tmp_path)
    assert [job.number for job in comparison.jobs] == [2, 9, 10]
    assert comparison.varying == ["search.rule"]
    assert comparison.best == [2]
    table = comparison_tables.overview(comparison)
    assert table is not None
    assert [row[1].text for row in table.rows] == ["r2", "r9", "r10"]
    mean = table.columns.index("mean")
    assert [row[mean].best for row in table.rows] == [True, False, False]
    # The targets' scores differ, as those of different seeds would: so they are columns.
    assert table.columns[-2:] == ("target", "best donor")


def test_searches_are_compared_with_the_best_over_the_same_examples(pointed: Result, tmp_path: Path) -> None:
    """The choice of one is much worse; those of others only by one and by five examples of 400."""
    assert pointed.evaluation is not None
    best = pointed.winner(None)
    own = pointed.scores_of(best)

    def unlucky(count: int) -> Scores:
        wrong = dict.fromkeys(list(own.points["read"])[:count], 0.0)
        return Scores.of({**own.points, "read": {**own.points["read"], **wrong}})

    models = (own, unlucky(1), pointed.scores_of(Candidate(1.0)), unlucky(LEAST - 1), unlucky(LEAST))
    for number, found in enumerate(models):
        given = {**pointed.evaluation.candidates, best: found}
        evaluation = replace(pointed.evaluation, candidates=given)
        leave(record(tmp_path, number, f"search.rule=r{number}"), replace(pointed, evaluation=evaluation))
    comparison = gather(tmp_path)
    assert comparison.best == [0]
    assert list(comparison.not_told_apart) == comparison.to_json()["not_told_apart_from_the_best"] == [1, 3]
    table = comparison_tables.overview(comparison)
    assert table is not None
    gaps = [row[table.columns.index("vs best")] for row in table.rows]
    assert gaps[0].text == ""
    assert (gaps[1].text, gaps[1].error) == ("-0.2", "0.3")
    assert float(gaps[2].text) < -10
    printed = shown(comparison)
    assert "(accuracy, %, by labels that they never saw)" in printed
    assert "not told apart from the best: job 1, 3 (few examples)\n" in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "not told apart: job 1, 3 (few examples)" in Page(write_comparison(comparison)).text


def test_a_donor_that_was_not_asked_is_said_to(result: Result, tmp_path: Path) -> None:
    assert result.evaluation is not None
    unasked = replace(
        result, evaluation=replace(result.evaluation, donors={}), not_asked={"a": "2 of 2 questions: ..."}
    )
    leave(record(tmp_path, 0, "search.rule=sum"), unasked)
    assert comparison_tables.legend(gather(tmp_path))[-1].endswith("; donor a not asked")
    lower = {c: Scores(dict.fromkeys(s.tasks, 1.0)) for c, s in result.evaluation.candidates.items()}
    leave(record(tmp_path, 1, "search.rule=either"), replace(unasked, evaluation=Evaluation(lower)))
    table = comparison_tables.overview(gather(tmp_path))
    assert table is not None
    assert [row[-1].text for row in table.rows] == ["not asked", "not asked"]


def test_without_labels_the_choices_are_compared(result: Result, tmp_path: Path) -> None:
    for number, rule in enumerate(("sum", "either")):
        leave(record(tmp_path, number, f"search.rule={rule}"), replace(result, evaluation=None))
    comparison = gather(tmp_path)
    table = comparison_tables.overview(comparison)
    assert table is not None
    assert table.columns == ("job", "rule", "chosen", "good", "D", "wins")
    assert comparison.best == []
    assert "oracle" not in shown(comparison)


def test_a_doubtful_choice_is_said_with_its_job(result: Result, tmp_path: Path) -> None:
    assert result.selection is not None
    overall = result.selection.overall.doubted("Few examples.")
    doubtful = replace(result, selection=replace(result.selection, overall=overall))
    for number, run in enumerate((result, doubtful, doubtful)):
        leave(record(tmp_path, number, f"merge.density=0.{number}"), run)
    comparison = gather(tmp_path)
    table = comparison_tables.overview(comparison)
    assert table is not None
    good = [row[table.columns.index("good")].text for row in table.rows]
    assert good == ["100%", "50% LOW", "50% LOW"]
    assert "warning: job 1, 2: Few examples." in shown(comparison)
    assert "job 1, 2: Few examples." in Page(write_comparison(comparison)).text


def test_jobs_that_failed_and_files_that_cannot_be_read_are_said(result: Result, tmp_path: Path) -> None:
    leave(record(tmp_path, 0, "merge=linear"), result)
    record(tmp_path, 1, "merge=ties", state="failed", error="merge=ties needs an ancestor")
    record(tmp_path, 2, "merge=sce", state="unfinished")
    broken = record(tmp_path, 3, "merge=tsv")
    leave(broken, result)
    (broken / RESULT).write_text('{"title": "t", "selection": {"overall": 3}}')
    record(tmp_path, 4, "merge=wudi")
    shared = str(tmp_path / "shared")
    for number in (5, 6):
        record(tmp_path, number, f"merge.alpha=0.{number}", output=shared)
    Path(shared).mkdir()
    leave(Path(shared), result)
    record(tmp_path, 7, "mode=plan", mode="plan")
    comparison = gather(tmp_path)
    assert [job.result is not None for job in comparison.jobs] == [True] + [False] * 6
    said = dict(enumerate(comparison_tables.failures(comparison), start=1))
    assert said[1] == "job 1: failed: merge=ties needs an ancestor"
    assert "unfinished" in said[2]
    assert str(broken / RESULT) in said[3]
    assert "not what adamms writes" in said[3]
    assert str(tmp_path / "4" / RESULT) in said[4]
    assert "No such file" in said[4]
    assert all(f"{shared} is the output of several jobs" in said[number] for number in (5, 6))
    printed = shown(comparison)
    assert printed.count("warning: job ") == 6
    text = write_comparison(comparison).read_text()
    assert all(f"job {number}: " in text for number in range(1, 7))


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (record(tmp_path, 0) / "job.json").write_text('{"mode": "search"}')
    with pytest.raises(AdammsError, match=r"0/job\.json: not what adamms writes"):
        gather(tmp_path)


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_console(result: Result, tmp_path: Path, width: int) -> None:
    """Long names and long candidates, columns for differing parents, and a third thing that varies."""
    assert result.evaluation is not None
    for number, method in enumerate(("task_arithmetic", "breadcrumbs", "dare_linear")):
        target = Scores(dict.fromkeys(result.tasks, 50.0 + number))
        run = replace(result, evaluation=replace(result.evaluation, target=target))
        overrides = (f"merge={method}", f"search.rule=rule{number}", f"model.prepare.seed={number}")
        leave(record(tmp_path, number, *overrides), lattice_result(run) if number else run, method)
    printed = shown(gather(tmp_path), width)
    assert max(map(len, printed.splitlines())) <= width
    # Folded or not, every row of every block says which job it is, and the means are whole.
    table = comparison_tables.overview(gather(tmp_path))
    assert table is not None
    for row in table.rows:
        assert row[table.columns.index("mean")].text in printed


def test_the_files_hold_everything(result: Result, tmp_path: Path) -> None:
    leave(record(tmp_path, 0, "merge=linear"), result)
    leave(record(tmp_path, 1, "merge=ties"), lattice_result(result), "ties", density=0.2, scope="model")
    comparison = gather(tmp_path)
    page = Page(write_comparison(comparison))
    parameters = page.tables["Hyper-parameters of the chosen models"]
    assert ["1", "ties", "a=0.5", "density=0.2, scope=model"] in parameters
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["varying"] == ["merge"]
    jobs = content["jobs"]
    found = [job["found"] for job in jobs]
    assert found[1]["selection"]["overall"]["candidate"].keys() == {"merge.density", "merge.alpha"}
    assert found[0]["numbers"]["all_score"] == found[1]["numbers"]["all_score"]
    assert content["best"] == [0, 1]
    assert found[0]["numbers"]["all_regret"] == result.regret(None).value
    assert found[1]["parameters"] == {"density": 0.2, "scope": "model"}
