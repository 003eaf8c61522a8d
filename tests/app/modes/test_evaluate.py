"""mode=evaluate: a model that is there already, by our own accuracy; lmms-eval has tests of its own."""

import json
from collections.abc import Callable
from pathlib import Path

from command import Outcome, pair, write_jsonl
from page_text import Page

from adamms.data.example import Label
from adamms.evaluate.scorers import ExactAccuracy

Run = Callable[..., Outcome]


def test_scores_answers_and_a_report_of_a_folder(run: Run, talkative: Path, tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path, per_task=2), tmp_path / "out"
    given = ["mode=evaluate", f"model_folder={talkative / 'target'}", "data=jsonl", f"data.path={data}"]
    done = run(*given, "engine.max_new_tokens=2", f"output={out}")
    assert done.status == 0, done.err
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert len({row["answer"] for row in rows}) > 4
    scores = json.loads((out / "evaluation.json").read_text())["model"]
    for task, score in scores["tasks"].items():
        own = [row for row in rows if row["task"] == task]
        right = [ExactAccuracy()(row["answer"], Label((row["label"],))) for row in own]
        assert 100 * sum(right) / len(right) == score
    page = Page(out / "report.html")
    assert "Evaluation of target" in page.text
    assert "What was evaluated" in page.text
    assert page.tables["Scores (accuracy, %)"][-1] == [
        "mean",
        f"{scores['mean']:.1f}± {scores['mean_error']:.1f}",
    ]
    assert "Scores (accuracy, %)" in done.out
    assert not (out / "model").exists()


def test_the_answers_are_those_of_a_search_at_alpha_0(run: Run, talkative: Path, tmp_path: Path) -> None:
    data = [f"data.path={write_jsonl(tmp_path, per_task=2)}", "data=jsonl", "engine.max_new_tokens=2"]
    for mode, output in ((["mode=search", "search.grid=[0,0.5,1]"], "a"), (["mode=evaluate"], "b")):
        folder = f"model_folder={talkative / 'target'}"
        done = run(*mode, *pair(talkative), *data, folder, f"output={tmp_path / output}", "store=null")
        assert done.status == 0, done.err
    searched = json.loads((tmp_path / "a/evaluation.json").read_text())
    expected = searched["candidates"]["0"] | {"examples": searched["examples"]}
    alone = json.loads((tmp_path / "b/evaluation.json").read_text())
    assert alone == {"measure": "accuracy", "model": expected}


def test_what_cannot_be_evaluated_is_said_at_once(run: Run, talkative: Path, tmp_path: Path) -> None:
    folder = f"model_folder={talkative / 'target'}"
    unlabelled = write_jsonl(tmp_path, per_task=1, labels=False)
    lmms_eval = ["evaluate=lmms_eval", "evaluate.lmms_eval.tasks=[mme]"]
    for given, said in (
        ([], "model_folder=FOLDER"),
        ([folder, "evaluate=none"], "nothing to do"),
        ([folder, "data=jsonl", f"data.path={unlabelled}"], "the data has no labels"),
        ([folder, "engine=replay", "engine.logs={0.0:x}"], "mode=evaluate needs a model"),
        (["model_folder=no/such"], "no/such"),
        (["mode=search", "engine=replay", "engine.logs={0.0:x}", *lmms_eval], "writes no model"),
    ):
        done = run(
            *(given if "mode=search" in given else ["mode=evaluate", *given]), f"output={tmp_path / 'out'}"
        )
        assert done.status == 2
        assert said in done.err
        assert "Traceback" not in done.err


def test_a_report_of_another_mode_is_not_replaced(run: Run, talkative: Path, tmp_path: Path) -> None:
    data = [f"data.path={write_jsonl(tmp_path, per_task=1)}", "data=jsonl", "engine.max_new_tokens=2"]
    out, plan = tmp_path / "out", tmp_path / "plan"
    search = ["mode=search", "search.grid=[0,0.5,1]", "evaluate.donors=false", *pair(talkative), *data]
    evaluate = ["mode=evaluate", f"model_folder={talkative / 'target'}", *data]
    assert run("mode=plan", *pair(talkative), f"output={out}").status == 0
    assert run(*search, f"output={out}").status == 0  # a search leaves all that a plan does
    left = {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    for mode in (evaluate, ["mode=plan", *pair(talkative)]):
        done = run(*mode, f"output={out}")
        assert done.status == 2
        assert f"output={out} has the report of mode=search, which {mode[0]} would replace" in done.err
        assert "output=..." in done.err
    assert {file: file.read_bytes() for file in out.iterdir() if file.is_file()} == left
    for _ in range(2):
        assert run("mode=plan", *pair(talkative), f"output={plan}").status == 0
    assert "report of mode=plan" in run(*evaluate, f"output={plan}").err
    for _ in range(2):
        assert run(*evaluate, f"output={tmp_path / 'own'}").status == 0
    assert "report of mode=evaluate" in run("mode=plan", *pair(talkative), f"output={tmp_path / 'own'}").err


def test_a_merged_models_report_says_what_it_is(run: Run, talkative: Path, tmp_path: Path) -> None:
    merged = run("mode=merge", *pair(talkative), "merge.alpha=0.25", f"output={tmp_path / 'S1'}")
    assert merged.status == 0, merged.err
    data = [f"data.path={write_jsonl(tmp_path, per_task=1)}", "data=jsonl", "engine.max_new_tokens=2"]
    model = f"model_folder={tmp_path / 'S1/model'}"
    assert run("mode=evaluate", model, *data, f"output={tmp_path / 'out'}").status == 0
    page = Page(tmp_path / "out/report.html")
    assert "Evaluation of donor into target" in page.text
    assert "method=linear, alpha=0.25" in page.text
    (tmp_path / "S1/model/adamms_recipe.json").write_text("{")
    done = run("mode=evaluate", model, *data, f"output={tmp_path / 'again'}")
    assert done.status == 2
    assert "adamms_recipe.json: not a recipe as adamms writes it" in done.err
