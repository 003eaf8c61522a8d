"""VLMEvalKit itself, in its own environment, on a tiny model; what it leaves; what is said without it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Outcome, read_run
from configured import configured, content
from configured_engines import settings_of

from adamms.app.config.build import build
from adamms.app.tools import add_tools
from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import Metric
from adamms.evaluate.foreign.tool import Backend
from adamms.evaluate.vlmevalkit.results import read_results
from adamms.evaluate.vlmevalkit.run import VlmEvalKit
from adamms.merge.candidate import Candidate
from adamms.report.compare.measured import of_evaluation
from adamms.report.compare.run_folders import FoundRun
from adamms.report.console import Console
from adamms.report.result import Result

PYTHON = Path(sys.prefix, "vlmevalkit/bin/python")  # where `make vlmevalkit` puts it
STATUS: dict[str, Any] = {
    "model_name": "model",
    "datasets": {
        "Digits": {
            "status": "done",
            "prediction_file": "model_Digits.tsv",
            "judge_model": "exact_matching",
            "primary_metric": "split=test|Overall",
            "metrics": {"split=test|Overall": 0.5, "split=test|digits": 0.5, "note": "text"},
        }
    },
}
ROWS = """\
index\tquestion\tanswer\tprediction\thit
"x0"\t"which?"\t"A"\t"A"\t"1"
"x1"\t"which?"\t"B"\t"two"\t"0"
"""
OTHER = ROWS.replace("which?", "another dataset's")


def kit(**own: Any) -> VlmEvalKit:
    made: VlmEvalKit = build(content("evaluate/vlmevalkit")["vlmevalkit"] | own, "evaluate.vlmevalkit")
    return made


def leave(folder: Path, status: dict[str, Any] = STATUS) -> Path:
    """As VLMEvalKit does."""
    (folder / "model").mkdir(parents=True)
    (folder / "model/model_Digits_exact_matching_result.tsv").write_text(ROWS)
    (folder / "model/model_Digits.tsv").write_text(ROWS)
    (folder / "model/model_Digits_V11_exact_matching_result.tsv").write_text(OTHER)
    file = folder / "model/status.json"
    file.write_text(json.dumps(status))
    return file


def test_its_metrics_and_its_rows_are_read(tmp_path: Path) -> None:
    found = read_results(leave(tmp_path), tmp_path, "0.0.20")
    assert found.metrics == [
        Metric("Digits", "split=test|Overall", "none", 0.5, None, 2),
        Metric("Digits", "split=test|digits", "none", 0.5, None, 2),
    ]
    one, two = found.samples
    overall = "split=test|Overall"
    assert (one.number, one.question, one.answer, one.scores) == (0, "which?", "A", {overall: 1.0})
    assert (two.number, two.target, two.answer, two.scores) == (1, "B", "two", {overall: 0.0})
    assert (found.tool, found.model, found.failed) == ("VLMEvalKit", "model", {})


def test_rows_give_a_metric_its_error(tmp_path: Path) -> None:
    found = read_results(leave(tmp_path), tmp_path, "0.0.20")
    run = FoundRun(tmp_path, result=Result("an evaluation", tools={"vlmevalkit": found}))
    overall, digits = of_evaluation(run)
    assert (overall.measure, overall.scores.tasks) == ("VLMEvalKit split=test|Overall", {"Digits": 50.0})
    assert overall.scores.points == {"Digits": {"Digits 0": 1.0, "Digits 1": 0.0}}
    assert not digits.percent


def test_a_dataset_that_failed_is_said_once_the_others_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = {"MMVet": {"status": "done", "error_message": "no key for gpt-4-turbo"}}
    status = STATUS | {"datasets": STATUS["datasets"] | failed}
    found = read_results(leave(tmp_path, status), tmp_path, "0")
    monkeypatch.setattr(VlmEvalKit, "run", lambda *_: found)
    run = read_run("evaluate=vlmevalkit", "evaluate.vlmevalkit.data=[Digits,MMVet]", f"output={tmp_path}")
    backends = {"vlmevalkit": Backend("0", "model_path")}
    with pytest.raises(AdammsError, match=r"VLMEvalKit: MMVet has failed: no key for gpt-4-turbo\. What "):
        add_tools(run, Console(), backends, Result("an evaluation"), tmp_path)
    kept = json.loads((tmp_path / "evaluation.json").read_text())["vlmevalkit"]["metrics"]
    assert [metric["task"] for metric in kept] == ["Digits", "Digits"]


def test_its_tables_can_be_replayed(tmp_path: Path) -> None:
    leave(tmp_path)
    found = settings_of("replay", logs={"0.1": {"digits": str(tmp_path / "model/model_Digits.tsv")}}).read()
    assert [answer.text for answer in found.answers[Candidate(0.1)].values()] == ["A", "two"]


def test_the_command_line_of_everything() -> None:
    tool = kit(data=["MMStar", "Mine"], model_args={"max_new_tokens": 4}, limit=8, arguments=["--verbose"])
    model, *rest = tool.command(Path("/runs/a=1/model"), Path("/out"), Backend("0.0.20", "model_path"))
    assert json.loads(model) == {
        "name": "model",
        "model": "transformers",
        "arguments": {"model_path": "/runs/a=1/model", "max_new_tokens": 4},
    }
    assert rest == [
        *("--data", "MMStar", "Mine", "--model", "model", "--work-dir", "/out"),
        *("--judge", "exact_matching", "--limit", "8", "--verbose"),
    ]
    with pytest.raises(AdammsError, match=r"vlmevalkit.arguments has '--judge=x', which has a key"):
        kit(data=["MMStar"], arguments=["--judge=x"])


def test_what_is_missing_is_said_before_any_work(
    run: Callable[..., Outcome], miniature: Path, tmp_path: Path
) -> None:
    for python, said in (
        ("no/python", "no such interpreter"),
        (sys.executable, "No package metadata was found"),
    ):
        done = run(
            *(
                "mode=merge",
                "model=custom",
                f"model.target.path={miniature / 'target'}",
                f"output={tmp_path}/o",
            ),
            *(f"model.donors.a.path={miniature / 'donor'}", "evaluate=vlmevalkit"),
            *("evaluate.vlmevalkit.data=[MMStar]", f"evaluate.vlmevalkit.python={python}"),
        )
        assert done.status == 2
        assert said in done.err
        assert "`make vlmevalkit` in a checkout makes one that has it" in done.err
        assert not (tmp_path / "o/model").exists()


@pytest.mark.lmms
@pytest.mark.skipif(not PYTHON.is_file(), reason="no environment with VLMEvalKit: make vlmevalkit")
def test_the_kit_itself_scores_a_model_on_a_local_table(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    """Its scores and its answers are those of the files that it leaves; the answers can be replayed."""
    import base64

    data = configured("data/digits", folder=tmp_path / "images", per_task=2, tasks=["read"]).load()
    rows = ["index\timage\tquestion\tA\tB\tanswer"]
    for number, example in enumerate(data.examples):
        image = base64.b64encode(Path(str(example.image)).read_bytes()).decode()
        rows.append(f"{number}\t{image}\twhich digit\tone\ttwo\tA")
    (tmp_path / "lmu").mkdir()
    (tmp_path / "lmu/Mine.tsv").write_text("\n".join(rows) + "\n")
    done = run(
        *("mode=evaluate", "model=custom", f"model_folder={talkative / 'donor'}", "evaluate=vlmevalkit"),
        *("evaluate.vlmevalkit.data=[Mine]", "evaluate.vlmevalkit.model_args={max_new_tokens: 2}"),
        f"evaluate.vlmevalkit.environment={{LMUData: {tmp_path / 'lmu'}, PRED_FORMAT: tsv}}",
        *(f"evaluate.vlmevalkit.python={PYTHON}", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    assert "VLMEvalKit 0.0.20, model" in done.out
    [metric, *_] = json.loads((tmp_path / "out/evaluation.json").read_text())["vlmevalkit"]["metrics"]
    assert (metric["task"], metric["samples"]) == ("Mine", 2)
    table = tmp_path / "out/vlmevalkit/model/model_Mine.tsv"
    found = settings_of("replay", logs={"0.0": {"mine": str(table)}}).read()
    assert len(found.answers[Candidate(0.0)]) == 2
    assert (tmp_path / "out/vlmevalkit/log.txt").is_file()
