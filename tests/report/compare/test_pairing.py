"""Runs of all kinds side by side: what belongs together, what may be compared, what pandas reads of it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from command import ROOT
from page_text import Page

from adamms.data.example import Example
from adamms.evaluate.evaluation import Scores
from adamms.evaluate.foreign.results import Metric, ToolResults
from adamms.report.answered import Answered
from adamms.report.compare import comparison_tables, comparison_verdicts
from adamms.report.compare.comparison import Comparison, mean
from adamms.report.compare.measured import Measured, of_evaluation
from adamms.report.compare.pairing import _measures, gather
from adamms.report.compare.run_folders import FoundRun, find
from adamms.report.files import RESULT
from adamms.report.page.comparison import page
from adamms.report.report import write_comparison
from adamms.report.result import Hyperparameters, Result, StageTiming

TIMINGS = (StageTiming("merge", 2.0), StageTiming("search", 3.5))


def write(folder: Path, result: Result, *overrides: str) -> Path:
    """A run on its own, as adamms leaves it where its results are."""
    (folder / ".hydra").mkdir(parents=True)
    mode = "search" if result.selection else "merge" if result.folder else "evaluate"
    config = {"mode": {"name": mode}, "output": str(folder)}
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump([f"mode={mode}", *overrides]))
    (folder / RESULT).write_text(json.dumps(result.to_json()))
    return folder


def made(folder: Path, method: str, result: Result) -> Result:
    """A search or a merge with a model in its folder."""
    (folder / "model").mkdir(parents=True)
    (folder / "model/model.safetensors").write_bytes(bytes(1000))
    merged = Hyperparameters(method, {}, {"a": 0.3}, {}, f"fingerprint of {method}")
    return replace(result, hyperparameters=merged, folder=folder / "model", timings=TIMINGS)


def evaluation(model: Result, scores: Scores, measure: str = "accuracy", **others: object) -> Result:
    """Of the model that a run has made."""
    found = Result("", scores=scores, measure=measure, evaluated=model.folder)
    return replace(found, hyperparameters=model.hyperparameters, **others)


# Search -> how many of 40 answers of its model are wrong.
LOST = {"linear_trusted": 0, "linear_adamms": 2, "ties_trusted": 10, "ties_adamms": 20}


def scores(*wrong: int, name: str = "e") -> Scores:
    """Of 40 examples, these wrong."""
    return Scores.of({"read": {f"{name}{n}": float(n not in wrong) for n in range(40)}})


def named(comparison: Comparison) -> dict[str, list[str]]:
    return {group.measure: [row.name for row in group.rows] for group in comparison.groups}


@pytest.fixture
def runs(pointed: Result, tmp_path: Path) -> Path:
    """2 methods x 2 searches, each evaluated by 2 measures: half by the folder, half by the weights."""
    for method in ("linear", "ties"):
        for search in ("adamms", "trusted"):
            name = f"{method}_{search}"
            folder = tmp_path / "searches" / name
            write(folder, made(folder, name, pointed), f"merge={method}", f"search={search}")
            model = Result.from_json(json.loads((folder / RESULT).read_text()))
            if method == "ties":
                model = replace(model, folder=Path("/gone/model"))
            lost = range(LOST[name])
            write(tmp_path / f"evaluations/{name}", evaluation(model, scores(*lost)), "evaluate=accuracy")
            anls = evaluation(model, scores(39, *lost), "ANLS")
            write(tmp_path / f"evaluations/{name}_anls", anls, "evaluate=anls")
    return tmp_path


def test_one_measure_on_as_many_other_examples_is_told_apart(runs: Path) -> None:
    own, accuracy, _ = gather([runs / "searches", runs / "evaluations"], runs / "out").groups
    searched, *others = own.rows[0], *(replace(row, scores=own.rows[0].scores) for row in accuracy.rows[:2])
    first, second = _measures([[searched], [others[0]]])
    assert first.endswith("examples, as searches scored them")
    assert second.endswith("examples, as evaluated later")
    places = [row.scored.place for row in others if row.scored]
    assert [name.partition(", by ")[2] for name in _measures([[row] for row in others])] == places


def test_the_best_of_2_methods_x_2_searches_x_2_evaluations_is_told(runs: Path) -> None:
    """An evaluation belongs to the search whose model it evaluates; the searches' own scores are apart."""
    comparison = gather([runs / "searches", runs / "evaluations"], runs / "out")
    models = [name.replace("_", " ") for name in LOST]
    own, *evaluated = comparison.groups
    assert sorted(row.name for row in own.rows) == sorted([*models, "target alone", "donor a alone"])
    assert [[row.name for row in group.rows] for group in evaluated] == [models, models]
    accuracy, anls = evaluated
    assert (accuracy.tasks, anls.measure) == (["read"], "ANLS")
    best, second, *_, last = accuracy.rows
    assert (best.method, best.shares, best.seconds, best.bytes) == ("linear_trusted", "0.3", 5.5, 1000)
    assert best.trust is not None
    assert best.scored is not None
    assert best.scored.place == "evaluations/linear_trusted"
    assert accuracy.difference(last) == scores(*range(LOST["ties_adamms"])).estimate(less=scores())
    assert accuracy.not_told_apart == [second]
    said = {verdict.text.partition(", ")[0]: verdict for verdict in comparison_verdicts.verdicts(comparison)}
    told = said[f"By {accuracy.measure}"].text
    assert (
        "linear trusted has the highest mean, 100.0 ± 0.0, but is not told apart from linear adamms" in told
    )
    assert told.endswith("The other 2 are worse.")


def test_pandas_reads_a_line_per_model_measure_and_task(runs: Path) -> None:
    (runs / "searches/broken").mkdir()
    (runs / "searches/broken/selection.json").write_text("{}")
    comparison = gather([runs], runs)
    write_comparison(comparison)
    table = pd.read_csv(runs / "comparison.csv")
    assert not table.duplicated(["model", "measure", "task"]).any()
    found = table[(table.model == "ties trusted") & (table.measure == "ANLS")].set_index("task")
    assert list(found.index) == ["all", "read"]
    line = found.loc["read"]
    gap = scores(39, *range(10)).estimate(less=scores(39))
    assert gap is not None
    assert gap.interval is not None
    assert (line.score, line.reference) == (72.5, "linear trusted")
    assert (line.difference, line.low, line.high) == pytest.approx((gap.value, *gap.interval))
    assert bool(line.told_apart) is True
    assert (line.method, line.alpha, line.bytes, line.seconds) == ("ties_trusted", 0.3, 1000, 5.5)
    assert line.merge == "ties"
    broken = table[table.state == "unfinished"]
    assert [Path(place).name for place in broken.run] == ["broken"]
    assert (
        table.pivot_table(index="model", columns="measure", values="score").loc["linear trusted", "ANLS"]
        == 97.5
    )


def test_the_pages_lines_for_pandas_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_comparison(gather([runs], runs / "OUT"))
    (block,) = re.findall(
        r"^```python\n(import pandas\n.*?)```", (ROOT / "docs/search.md").read_text(), re.M | re.S
    )
    *lines, last = block.splitlines()
    monkeypatch.chdir(runs)
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    table = eval(last, names)
    assert table.loc["linear trusted", ("ANLS", "read")] == 97.5


def test_scores_by_different_scorers_or_on_other_tasks_are_not_ranked(runs: Path) -> None:
    config = yaml.safe_dump({"evaluate": {"scorer": {"threshold": 0.5}}})
    model = Result("", evaluated=Path("/models/other"), scores=scores(), measure="ANLS", config=config)
    write(runs / "evaluations/other", model)
    other_task = Scores.of({"spell": {"e1": 1.0, "e2": 0.0}})
    write(runs / "evaluations/spell", replace(model, scores=other_task, config=""))
    groups = gather([runs], runs).groups
    assert [[row.name for row in group.rows] for group in groups if "ANLS" in group.measure] == [
        *([name.replace("_", " ") for name in LOST], ["other"], ["other"])
    ]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (Scores({"read": 50.0}), "there are no scores of single examples"),
        (scores(1, name="f"), "other examples: of 40 and 40 they share 0"),
        (scores(1), "other examples: 1 of the same names ask something else"),
    ],
)
def test_where_no_interval_can_be_told_it_says_why(second: Scores, why: str, tmp_path: Path) -> None:
    for name, found in (("a", scores()), ("b", second)):
        asked = (Answered(Example("e1", "read", f"What does {name} say?"), {}, "7", text="7"),)
        result = Result(
            "", evaluated=Path(f"/models/{name}"), scores=found, measure="accuracy", answered=asked
        )
        write(tmp_path / name, result)
    comparison = gather([tmp_path], tmp_path)
    (line,) = comparison_tables.unknown(comparison)
    assert why in line
    assert line.endswith("(b)")
    (verdict,) = comparison_verdicts.verdicts(comparison)
    assert verdict.text.endswith(f"whether that is real is not known: {why}.")
    assert why in pd.read_csv(write_comparison(comparison).with_suffix(".csv")).why_no_interval.tolist()


def test_a_verdict_counts_as_worse_only_what_is_told_apart(tmp_path: Path) -> None:
    """Others on the same examples that are near and far, and one on other examples."""
    found = {"a": scores(), "near": scores(1), "far": scores(*range(20)), "other": scores(2, 3, name="f")}

    def said(*names: str) -> comparison_verdicts.Verdict:
        folder = tmp_path / "".join(names)
        for name in names:
            result = Result("", evaluated=Path(f"/{name}"), scores=found[name], measure="accuracy")
            write(folder / name, result)
        (verdict,) = comparison_verdicts.verdicts(gather([folder], folder))
        return verdict

    why = "other examples: of 40 and 40 they share 0"
    assert said("a", "near", "other").text.endswith(f"is real is not known: {why}.")
    every = said("a", "near", "far", "other").text
    assert every.endswith(
        f"Whether the difference to other is real is not known: {why}. The other 1 is worse."
    )
    unknown = said("a", "far", "other")
    assert "a has the highest mean, 100.0 ± 0.0, +5.0 points from other; whether" in unknown.text
    assert (unknown.mood, said("a", "far").mood) == ("fair", "good")


def test_not_only_the_nearest_model_has_to_be_told_apart_from_the_best(tmp_path: Path) -> None:
    """The second is worse on every second example by a little, the third on two of 40 by much more."""
    noisy = {f"e{n}": 0.3 * (n % 2) - 0.3 * (n % 2 == 0) for n in range(40)}
    of = {
        "a": Scores.of({"read": dict.fromkeys(noisy, 0.6)}),
        "second": Scores.of({"read": dict.fromkeys(noisy, 0.59)}),
        "third": Scores.of({"read": {id: 0.58 + value for id, value in noisy.items()}}),
    }
    for name, found in of.items():
        write(tmp_path / name, Result("", evaluated=Path(f"/{name}"), scores=found, measure="ANLS"))
    (verdict,) = comparison_verdicts.verdicts(gather([tmp_path], tmp_path))
    assert verdict.mood == "fair"
    assert "but is not told apart from third" in verdict.text
    assert verdict.text.endswith("The other 1 is worse.")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("second", ["b/1.png", "a/2.png"])
def test_questions_about_other_pictures_are_other_examples(there: bool, second: str, tmp_path: Path) -> None:
    """By content where the pictures are there, wherever they lie; else by the names of all of them."""
    pictures = [tmp_path / name for name in ("a/1.png", "a/2.png", "b/1.png", "c/x.png")]
    for picture, content in zip(pictures, ("one", "two", "other one", "one"), strict=True):
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(content) if there else None

    def asks(*names: str) -> Measured:
        images = [tmp_path / name for name in names]
        example = Example("e1", "read", "Same?", images[0], more_images=tuple(images[1:]))
        result = Result("", scores=scores(), answered=(Answered(example, {}, "7", text="7"),))
        (found,) = of_evaluation(FoundRun(tmp_path, result=result))
        return found

    first = asks("a/1.png", "a/1.png")
    assert not first.incomparable(asks("a/1.png", "a/1.png"))
    assert bool(first.incomparable(asks("a/1.png", second))) == (there or second == "a/2.png")
    assert bool(first.incomparable(asks("a/1.png", "c/x.png"))) == (not there)
    assert first.incomparable(asks("a/1.png"))


def test_d_of_different_signals_never_shares_an_axis(pointed: Result, tmp_path: Path) -> None:
    def with_signal(rule: str) -> Result:
        signal = {"_target_": "adamms.search.signals.consistency.Consistency", "rule": rule}
        return replace(pointed, config=yaml.safe_dump({"search": {"signal": signal}}))

    for number, rule in enumerate(("sum", "either", "sum")):
        write(tmp_path / str(number), with_signal(rule), f"search.signal.rule={rule}", f"merge=m{number}")
    text = page(gather([tmp_path], tmp_path))
    assert text.count(">D, consistency sum</text>") == text.count(">D, consistency either</text>") == 1


def test_lmms_eval_is_compared_sample_by_sample_and_by_each_metric_alone(tmp_path: Path) -> None:
    for model, right in (("a", 30), ("b", 10)):
        folder = tmp_path / model
        folder.mkdir()
        results = {"gqa": {"exact_match,none": right / 40}, "mme": {"mme_score,none": 1500.0 + right}}
        content = {
            "results": results,
            "config": {"model": "vllm", "model_args": f"pretrained=/models/{model},tp=1"},
        }
        (folder / "20250301_000000_results.json").write_text(json.dumps(content))
        lines = (
            {"doc_id": n, "target": "yes", "filtered_resps": ["yes"], "exact_match": float(n < right)}
            for n in range(40)
        )
        (folder / "20250301_000000_samples_gqa.jsonl").write_text("\n".join(map(json.dumps, lines)))
    # As mode=evaluate leaves it: the samples are in lmms-eval's own folder.
    metrics = (Metric("gqa", "exact_match", "none", 0.75, None, 40),)
    found = ToolResults("0.7", "vllm", tmp_path / "a", metrics, ())
    write(tmp_path / "c", Result("", evaluated=Path("/models/c"), tools={"lmms_eval": found}))
    comparison = gather([tmp_path], tmp_path)
    assert named(comparison) == {
        "lmms-eval exact_match": ["a", "c", "b"],
        "lmms-eval mme_score, its own unit": ["a", "b"],
    }
    match, mme = comparison_verdicts.verdicts(comparison)
    assert "a is best: 75.0" in match.text
    assert "+50.0 points over b (95 % interval" in match.text
    assert "a has the highest mean, 1530, +20.0 points from b" in mme.text


def test_lmms_eval_with_and_without_samples_is_one_measure(tmp_path: Path) -> None:
    for model, right in (("a", 30), ("b", 10)):
        (tmp_path / model).mkdir()
        content = {
            "results": {"gqa": {"acc,none": right / 40}},
            "config": {"model": "m", "model_args": model},
        }
        (tmp_path / model / "1_results.json").write_text(json.dumps(content))
    lines = ({"doc_id": n, "target": "", "filtered_resps": [""], "acc": float(n < 30)} for n in range(40))
    (tmp_path / "a/1_samples_gqa.jsonl").write_text("\n".join(map(json.dumps, lines)))
    comparison = gather([tmp_path], tmp_path)
    (group,) = comparison.groups
    assert group.measure == "lmms-eval acc, its own unit"
    assert [mean(row) for row in group.rows] == [0.75, 0.25]
    (line,) = comparison_tables.unknown(comparison)
    assert "there are no scores of single examples" in line


def test_a_folder_that_was_moved_and_several_evaluations_alike(pointed: Result, tmp_path: Path) -> None:
    """By the weights, and by the settings of the evaluations where one model has several of one measure."""
    old = tmp_path / "old"
    write(old, made(old, "linear", pointed), "merge=linear")
    model = Result.from_json(json.loads((old / RESULT).read_text()))
    for tokens in (4, 32):
        settings = f"engine.max_new_tokens={tokens}"
        write(tmp_path / f"evaluation{tokens}", evaluation(model, scores(tokens)), settings)
    old.rename(tmp_path / "new")
    group = next(group for group in gather([tmp_path], tmp_path).groups if group.tasks == ["read"])
    assert [row.name for row in group.rows] == [
        "linear 0.3 (max_new_tokens=4)",
        "linear 0.3 (max_new_tokens=32)",
    ]
    assert {row.bytes for row in group.rows} == {1000}


def test_the_page_says_the_verdict_first_and_links_to_the_runs(runs: Path) -> None:
    (runs / "evaluations/linear_trusted/report.html").write_text("")
    text = write_comparison(gather([runs], runs)).read_text()
    assert text.index("linear trusted has the highest mean") < text.index("<table")
    assert 'href="evaluations/linear_trusted/report.html"' in text
    assert Page(runs / "comparison.html").tables["What the searches chose"][1][0] == "linear adamms"


def test_models_without_scores_are_there_too(tmp_path: Path) -> None:
    for alpha in (0.3, 0.5):
        folder = tmp_path / f"merges/{alpha}"
        write(folder, made(folder, "linear", Result("")), f"merge.alpha={alpha}")
    comparison = gather([tmp_path], tmp_path)
    assert named(comparison) == {"": ["alpha=0.3", "alpha=0.5"]}
    table = comparison_tables.overview(comparison)
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        [name, "linear", "0.3", "5.5 s", "1.00 kB"] for name in ("alpha=0.3", "alpha=0.5")
    ]


def test_settings_of_one_name_are_told_apart_by_more_of_their_keys(tmp_path: Path) -> None:
    for n in (1, 2):
        typed = (
            f"merge.rules.attn.factor={n}",
            f"merge.rules.mlp.factor={n + 1}",
            f"search.signal.rule=r{n}",
        )
        write(tmp_path / str(n), made(tmp_path / str(n), "linear", Result("")), *typed)
    names = [row.name for row in gather([tmp_path], tmp_path).groups[0].rows]
    assert names == ["attn.factor=1 mlp.factor=2 rule=r1", "attn.factor=2 mlp.factor=3 rule=r2"]


def test_where_a_name_would_be_a_paragraph_it_is_the_runs_folder(tmp_path: Path) -> None:
    typed = [f"merge.option_of_a_long_name_{n}={n}" for n in range(4)]
    write(tmp_path / "many", made(tmp_path / "many", "linear", Result("")), *typed)
    write(tmp_path / "none", made(tmp_path / "none", "linear", Result("")))
    places = [f"{tmp_path.name}/{name}" for name in ("many", "none")]
    names = [row.name for row in gather([tmp_path], tmp_path).groups[0].rows]
    assert names == [f"linear 0.3 {place}" for place in places]


def test_a_single_run_that_failed_says_what_its_log_says(pointed: Result, tmp_path: Path) -> None:
    write(tmp_path / "good", pointed)
    failed = write(tmp_path / "bad", pointed, "merge=ties")
    (failed / RESULT).unlink()
    (failed / "run.log").write_text("map\nerror: merge=ties needs an ancestor\n")
    comparison = write(tmp_path / "comparison", pointed)
    config = {"mode": {"name": "compare"}, "output": "elsewhere"}
    (comparison / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (line,) = comparison_tables.failures(gather([tmp_path], tmp_path))
    assert line.endswith("/bad): failed: merge=ties needs an ancestor")


def test_a_run_is_what_lies_in_its_folder_wherever_that_was_moved(pointed: Result, tmp_path: Path) -> None:
    """Four runs one after another in OUT, the second of which failed; all but the last were moved."""
    out = tmp_path / "OUT"
    for name in ("linear", "broken", "ties", "slerp"):
        write(out, made(out, name, pointed), f"merge={name}", "output=OUT")
        if name == "broken":
            (out / RESULT).unlink()
            (out / "run.log").write_text("error: no space left\n")
        if name == "ties":
            evaluated = evaluation(Result.from_json(json.loads((out / RESULT).read_text())), scores(1))
            write(tmp_path / "evaluated", evaluated)
        if name != "slerp":
            out.rename(tmp_path / name)
    comparison = gather([tmp_path], tmp_path)
    found = {run.output.name: run for run in comparison.runs}
    assert found["broken"].error == "no space left"
    for name, folder in (("linear", "linear"), ("ties", "ties"), ("slerp", "OUT"), ("broken", "broken")):
        assert found[folder].overrides["merge"] == name
    made_by = {row.name: row for group in comparison.groups for row in group.rows if row.scored and row.made}
    assert {row.made.model.parent.name for row in made_by.values()} == {"linear", "ties", "OUT"}
    assert [row.method for row in made_by.values() if row.scored.output.name == "evaluated"] == ["ties"]


def test_a_model_that_the_page_of_explore_wrote_is_compared(tmp_path: Path) -> None:
    page = write(tmp_path / "page", made(tmp_path / "page", "linear", Result("")), "mode.port=1")
    (page / ".hydra/config.yaml").write_text(yaml.safe_dump({"mode": {"name": "explore"}, "output": "page"}))
    model = Result.from_json(json.loads((page / RESULT).read_text()))
    write(tmp_path / "evaluated", evaluation(model, scores(1)))
    ((row,),) = (group.rows for group in gather([tmp_path], tmp_path).groups)
    assert (row.run.output, row.method) == (page, "linear")
    (page / RESULT).unlink()
    (line, *_) = comparison_tables.failures(gather([tmp_path], tmp_path))
    assert line.endswith("mode=explore leaves nothing to compare")


def test_what_is_no_result_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text("{}")
    ((found,), _) = find([tmp_path])
    assert found.error == f"{tmp_path / RESULT}: not what adamms writes (title: Field required)"
    assert find([tmp_path / RESULT]) == ((), (f"{tmp_path / RESULT}: a file; name its folder",))
