"""`track=wandb` from the command line: multiruns, crashes and wandb's own agent, all of it offline."""

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import wandb_files
from command import ROOT, pair, write_jsonl
from wandb_files import offline_runs, running

from adamms.app import asker
from adamms.app.asker import collect

pytestmark = pytest.mark.long

SMALL = [
    "search.grid=[0,0.4,0.8]",
    "engine.max_new_tokens=2",
    "engine.accelerator=cpu",
    "evaluate.donors=false",
]
OFFLINE = ["track=wandb", "track.mode=offline"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wandb_files.separate(monkeypatch, tmp_path)


def test_six_variants_are_six_runs_in_one_group(run, talkative: Path, tmp_path: Path) -> None:
    """Two methods by three rules, one after the other in one process."""
    data = write_jsonl(tmp_path, per_task=1)
    data.write_text("\n".join(data.read_text().splitlines()[:2]))  # of two tasks
    done = run(
        *(
            "-m",
            "merge=linear,slerp",
            "search.signal.rule=sum,either,previous",
            *pair(talkative),
            *SMALL,
            *OFFLINE,
        ),
        *("data=jsonl", f"data.path={data}", f"hydra.sweep.dir={tmp_path / 'night/one'}"),
    )
    assert done.status == 0, done.err
    runs = offline_runs(tmp_path)
    assert len({found.id for found in runs}) == len(runs) == 6
    assert {found.group for found in runs} == {"night/one"}
    assert {(found.job_type, found.exit_code) for found in runs} == {("search", 0)}
    assert Counter(found.tags for found in runs) == {
        ("donor into target", method, "transformers"): 3 for method in ("linear", "slerp")
    }
    wanted = [(method, rule) for method in ("linear", "slerp") for rule in ("sum", "either", "previous")]
    assert [(f.config["options"]["merge"], f.config["search"]["signal"]["rule"]) for f in runs] == wanted
    for index, found in enumerate(runs):
        assert found.folder.is_relative_to(tmp_path / f"night/one/{index}/wandb")
        assert {row["alpha"] for row in found.history if "alpha" in row} == {0, 0.1, 0.4, 0.8}
        assert found.summary["all_alpha"] == found.metadata("model")["merged_at"]["merge.alpha"]
        assert len(found.table("answers")) == 2
        assert {"recipe", "report", "model", "run_table"} == set(found.artifacts)
        assert found.name == "{} rule={}".format(*wanted[index])
    assert "W&B: offline" in done.out
    assert "wandb:" not in done.out + done.err


def test_the_candidates_done_so_far_are_there_in_the_middle_of_a_search(
    run, talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the fourth of five candidates is asked: D of the one between two others, three scores."""
    seen = []

    def watched(engine, examples, advance):
        seen.append(None)
        if len(seen) == 4:
            seen[-1] = running(tmp_path / "out", rows=4)
        return collect(engine, examples, advance)

    monkeypatch.setattr(asker, "collect", watched)
    data = write_jsonl(tmp_path, per_task=1)
    done = run(
        *pair(talkative), *OFFLINE, "data=jsonl", f"data.path={data}", f"output={tmp_path / 'out'}",
        "engine.max_new_tokens=2", "engine.accelerator=cpu", "search.grid=[0,0.2,0.4,0.6,0.8]",
        "evaluate.donors=false", "evaluate.control=false",
    )  # fmt: skip
    assert done.status == 0, done.err
    middle, (end,) = seen[3], offline_runs(tmp_path / "out")
    assert middle.exit_code is None
    known = [row for row in middle.history if "D_consistency_sum/all" in row]
    assert [row["alpha"] for row in known] == [0.2]
    selection = json.loads((tmp_path / "out/selection.json").read_text())
    assert known[0]["D_consistency_sum/all"] == selection["overall"]["differences"]["0.2"]
    assert [row["alpha"] for row in middle.history if "score/all" in row] == [0, 0.2, 0.4]
    answers = [row["progress/search_answers"] for row in middle.history if "progress/search_answers" in row]
    assert answers == [len(data.read_text().splitlines()) * count for count in (1, 2, 3)]
    # The rest comes candidate by candidate, and nothing twice.
    for name in ("D_consistency_sum/all", "score/all"):
        places = [row["alpha"] for row in end.history if name in row]
        assert sorted(places) == sorted(set(places))
    assert len([row for row in end.history if "score/all" in row]) == 6  # 0.1 is a reference


def test_a_job_that_is_repeated_is_the_same_run_and_one_that_crashes_has_failed(
    run, talkative: Path, tmp_path: Path
) -> None:
    models = shutil.copytree(talkative, tmp_path / "models")
    plan = ["mode=plan", *pair(models), *OFFLINE, f"hydra.run.dir={tmp_path / 'out'}"]
    assert run(*plan).status == 0
    assert run(*plan).status == 0
    assert (tmp_path / "out/run.log").read_text().count("\nW&B: offline, to be uploaded by: ") == 2
    first, again = offline_runs(tmp_path / "out")
    assert first.id == again.id
    assert first.exit_code == again.exit_code == 0
    assert first.job_type == "plan"
    assert set(first.artifacts) == {"recipe", "report"}
    (models / "donor/model.safetensors").unlink()
    assert run(*plan).status == 2
    crashed = offline_runs(tmp_path / "out")[-1]
    assert crashed.exit_code == 1
    assert crashed.summary["error"].startswith("AdammsError: ")
    assert str(models / "donor") in crashed.summary["error"]
    assert crashed.id != first.id  # it had other inputs


def test_a_process_of_wandbs_agent_is_the_run_that_the_agent_expects(
    monkeypatch: pytest.MonkeyPatch, talkative: Path, tmp_path: Path
) -> None:
    """The agent itself, without the server that would tell it what to run."""
    from wandb.wandb_agent import Agent

    for name, value in {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "", "WANDB_SWEEP_PARAM_PATH": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("ADAMMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    agent = Agent(api=None, queue=None, sweep_id="s1")
    place = "hydra.run.dir=" + str(tmp_path) + "/${oc.env:WANDB_SWEEP_ID}/${oc.env:WANDB_RUN_ID}"
    fixed = ["mode=plan", *pair(talkative), *OFFLINE, place]
    agent._sweep_command = ["${env}", "${interpreter}", "${program}", *fixed, "${args_no_hyphens}"]
    arguments = {"merge": {"value": "linear"}, "merge.alpha": {"value": 0.25}}
    agent._command_run({"program": str(ROOT / "run.py"), "run_id": "r7", "args": arguments})
    assert agent._run_processes["r7"].wait(timeout=120) == 0
    (found,) = offline_runs(tmp_path / "s1/r7")
    assert (found.id, found.sweep, found.exit_code) == ("r7", "s1", 0)
    assert found.config["merge.alpha"] == 0.25
    assert found.config["merge"] == "linear"  # as the sweep says it
    assert found.config["merge_settings"]["alpha"] == 0.25
    assert found.config["options"]["merge"] == "linear"


def test_evaluations_are_filed_under_what_they_evaluate(run, talkative: Path, tmp_path: Path) -> None:
    """Two merges, by their recipes, and a model that is none; not under the pair of the configuration."""
    data = write_jsonl(tmp_path, per_task=1)
    data.write_text("\n".join(data.read_text().splitlines()[:2]))
    shown = ["data=jsonl", f"data.path={data}", "engine.max_new_tokens=2", "engine.accelerator=cpu"]
    for name, alpha, method in (("S1", 0.1, "linear"), ("S3", 0.5, "slerp")):
        typed = [f"merge={method}", f"merge.alpha={alpha}", f"output={tmp_path / name}"]
        assert run("mode=merge", *pair(talkative), *typed).status == 0
    for number, place in enumerate((tmp_path / "S1/model", tmp_path / "S3/model", talkative / "target")):
        out = tmp_path / f"wandb/{number}"
        done = run(
            "mode=evaluate", f"model_folder={place}", "merge.alpha=0.7", *shown, *OFFLINE, f"output={out}"
        )
        assert done.status == 0, done.err
    first, second, plain = offline_runs(tmp_path / "wandb")
    assert len({first.id, second.id, plain.id}) == 3
    assert [found.job_type for found in (first, second, plain)] == ["evaluate"] * 3
    for found, alpha, method in ((first, 0.1, "linear"), (second, 0.5, "slerp")):
        assert found.name.startswith(f"donor into target {method} merge.alpha={alpha} data=jsonl")
        assert "0.7" not in found.name
        assert (found.group, found.tags) == (
            "donor into target",
            ("donor into target", method, "transformers"),
        )
        assert (found.config["merge"]["alpha"], found.config["options"]["merge"]) == (alpha, method)
        assert found.config["given"]["donors"] == {"a": "donor"}
        assert "model" not in found.config
        assert not [name for name in found.config["options"] if name.startswith(("search", "model"))]
        (given,) = found.metadata("report")["inputs"]
        assert given["source"] == found.config["given"]["place"]
        assert given["fingerprint"] == found.config["given"]["fingerprint"]
        assert given["coefficients"] == {"a": alpha}
    assert plain.name.startswith("target data=jsonl")
    assert (plain.group, plain.tags) == ("target", ("target", "transformers"))
    assert "merge" not in plain.config
    assert "merge" not in plain.config["options"]
    for found in (first, second, plain):
        rows = found.table("answers")
        assert len(rows) == 2
        assert set(rows[0]) == {"task", "example", "image", "question", "label", "answer"}
        left = [
            json.loads(line) for line in (found.folder.parents[1] / "answers.jsonl").read_text().splitlines()
        ]
        assert [row["answer"] for row in rows] == [line["answer"] for line in left]
        assert found.summary["all_score"] >= 0
