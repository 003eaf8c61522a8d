"""Multiruns end with a comparison of their searches, whatever became of the jobs."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from command import CONF, ROOT, pair, write_jsonl
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from adamms.app.modes import common
from adamms.app.multirun import JobRecord, compared

SMALL = [
    "search.grid=[0,0.4,0.8]",
    "engine.max_new_tokens=3",
    "engine.accelerator=cpu",
    "evaluate.donors=false",
]


def table(out: str) -> list[str]:
    """What is printed of the comparison, without the paths."""
    lines = out[re.search(r"^\d+ models?\b", out, re.MULTILINE).start() :].splitlines()
    return [line for line in lines if not line.startswith("comparison: ")]


def labelled(run, talkative: Path, folder: Path) -> Path:
    """Questions of which the first half have what linear answers at alpha 0.4 for their answer."""
    file = write_jsonl(folder, per_task=1, labels=False)
    done = run(*pair(talkative), "data=jsonl", f"data.path={file}", *SMALL, f"output={folder / 'unlabelled'}")
    assert done.status == 0, done.err
    given = (folder / "unlabelled/answers.jsonl").read_text().splitlines()
    answers = {line["id"]: line["answers"]["0.4"] for line in map(json.loads, given)}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    half = len(lines) // 2
    lines = [
        line | {"answer": answers[line["id"]] if number < half else "none of these"}
        for number, line in enumerate(lines)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_a_recipe_ends_with_a_table_and_a_failed_job_is_in_it(run, talkative: Path, tmp_path: Path) -> None:
    """TIES has no ancestor here; slerp comes after it all the same."""
    sweep = tmp_path / "sweep"
    data = ["data=jsonl", f"data.path={labelled(run, talkative, tmp_path)}"]
    done = run(
        *("-cd", str(ROOT / "sweeps"), "-cn", "all_methods", *pair(talkative), *data, *SMALL),
        *("tune=linear,ties,slerp", f"hydra.sweep.dir={sweep}"),
    )
    assert done.status == 2
    assert done.err.startswith("error: merge=ties needs an ancestor")  # with no line of Hydra's before it
    printed = table(done.out)
    assert max(len(line) for line in printed if not line.startswith("warning: ")) <= 80
    content = json.loads((sweep / "comparison.json").read_text())
    assert content["varying"] == ["tune"]
    assert [found["state"] for found in content["runs"]] == ["done", "failed", "done"]
    best = content["groups"][0]["best"]
    for number, method in ((0, "linear"), (2, "slerp")):
        evaluation = json.loads((sweep / f"{number}/evaluation.json").read_text())
        numbers = content["runs"][number]["found"]["numbers"]
        assert numbers["all_alpha"] == 0.4
        assert numbers["all_score"] == pytest.approx(evaluation["candidates"]["0.4"]["mean"])
        mark = "^" if method in best else ""
        row = next(line for line in printed if line.startswith(f"{method} "))
        assert f"{numbers['all_score']:.1f}{mark}" in row.split()
        assert f"{100 * numbers['all_probability']:.0f}%" in row.split()
    assert content["runs"][0]["found"]["numbers"]["all_score"] == 50.0
    assert any("run 1 (sweep/1): failed: merge=ties needs an ancestor" in line for line in printed)
    assert "2 searches" in (sweep / "comparison.html").read_text()
    links = re.findall(r'href="([^#"]+html)"', (sweep / "comparison.html").read_text())
    assert set(links) == {"0/report.html", "2/report.html"}
    assert all((sweep / link).is_file() for link in links)

    again = run("mode=compare", f"mode.folder={sweep}")
    assert again.status == 0
    assert table(again.out) == printed


def test_a_job_in_a_process_of_its_own_is_compared(run, talkative: Path, tmp_path: Path) -> None:
    """As on a cluster: all that comes back of it are files. Without labels only the choice is shown."""
    sweep = tmp_path / "sweep"
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1, labels=False)}"]
    done = run(
        *("-m", *pair(talkative), *data, *SMALL, "search.signal.rule=either", f"hydra.sweep.dir={sweep}"),
        "hydra/launcher=local",
    )
    assert done.status == 0, done.err
    assert ["search", "chosen", "good", "D", "wins"] in [line.split() for line in table(done.out)]
    [job] = json.loads((sweep / "comparison.json").read_text())["runs"]
    selection = json.loads((sweep / "0/selection.json").read_text())
    assert job["overrides"]["search.signal.rule"] == "either"
    assert job["found"]["selection"] == selection


def test_merges_and_evaluations_end_with_their_comparison_and_are_paired(
    run, talkative: Path, tmp_path: Path
) -> None:
    data = [*SMALL[1:], "data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=2)}"]
    merges, evaluations = tmp_path / "merges", tmp_path / "evaluations"
    done = run("-m", "mode=merge", *pair(talkative), "merge.alpha=0.2,0.6", f"hydra.sweep.dir={merges}")
    assert done.status == 0, done.err
    assert "2 models\n" in done.out
    folders = ",".join(str(merges / str(number) / "model") for number in (0, 1))
    typed = (f"model_folder={folders}", "evaluate=accuracy,token_f1", *data[:2], *data[3:])
    done = run("-m", "mode=evaluate", *typed, f"hydra.sweep.dir={evaluations}")
    assert done.status == 0, done.err
    assert (evaluations / "comparison.html").is_file()
    done = run("mode=compare", f"mode.folder=[{merges},{evaluations}]", f"output={tmp_path / 'both'}")
    assert done.status == 0, done.err
    groups = json.loads((tmp_path / "both/comparison.json").read_text())["groups"]
    assert [group["measure"] for group in groups] == ["accuracy", "token F1"]
    assert all(set(group["models"]) == {"alpha=0.2", "alpha=0.6"} for group in groups)
    assert "By accuracy, " in done.out


def test_a_single_run_that_was_moved_is_compared_by_what_lies_there(
    run, talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    for alpha in (0.2, 0.6):
        assert run("mode=merge", *pair(talkative), f"merge.alpha={alpha}", "output=OUT").status == 0
        (work / "OUT").rename(work / f"moved{alpha}")
    assert run("mode=merge", *pair(talkative), "merge=slerp", "output=OUT").status == 0
    monkeypatch.setenv("HOME", str(work))
    assert run("mode=compare", "mode.folder=OUT", "output=alone").status == 0
    assert (work / "alone/comparison.csv").is_file()
    assert not (work / "OUT/comparison.csv").exists()
    done = run("mode=compare", "mode.folder=[moved0.2,'~/moved0.6',OUT]", "output=both")
    assert done.status == 0, done.err
    content = json.loads((work / "both/comparison.json").read_text())
    found = {Path(each["output"]).name: each for each in content["runs"]}
    assert {name: each["found"]["shares"]["a"] for name, each in found.items() if name != "OUT"} == {
        "moved0.2": 0.2,
        "moved0.6": 0.6,
    }
    assert found["moved0.6"]["overrides"]["merge.alpha"] == "0.6"
    assert found["OUT"]["found"]["method"] == "slerp"


def test_a_multirun_of_plans_and_a_single_run_end_as_they_are(run, talkative: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    done = run("-m", "mode=plan", *pair(talkative), "mapper.exclude=[],[norm]", f"hydra.sweep.dir={sweep}")
    assert done.status == 0, done.err
    assert " models\n" not in done.out
    assert json.loads((sweep / "1/job.json").read_text())["state"] == "done"
    assert not list(sweep.glob("comparison*"))
    done = run("mode=plan", *pair(talkative), f"hydra.run.dir={tmp_path / 'one'}")
    assert done.status == 0, done.err
    assert not (tmp_path / "one/job.json").exists()
    done = run("mode=compare", f"mode.folder={tmp_path / 'one'}")
    assert done.status == 2
    assert "nothing to compare: " in done.err
    assert "/one: mode=plan leaves nothing to compare; expected folders of runs of mode=search" in done.err


@pytest.mark.parametrize("flags", [[], ["-m"], ["-m", "hydra/launcher=local"]])
def test_a_users_mistake_is_one_sentence(run, flags: list[str], talkative: Path, tmp_path: Path) -> None:
    """In this process, in a multirun, and in a job's own process: without a line of Hydra's before it."""
    folders = [f"hydra.sweep.dir={tmp_path / 'sweep'}", f"hydra.run.dir={tmp_path / 'one'}"]
    done = run(*flags, "mode=merge", "merge.alpha=2", *pair(talkative), *folders)
    assert done.status == 2
    assert done.err == "error: merge.alpha is 2; expected a number in [0, 1], the donor's share\n"


@pytest.mark.parametrize(
    ("typed", "own"),
    [
        ([], []),
        (["hydra.launcher.setup=[module load cuda]"], ["module load cuda"]),
        (["hydra.launcher.setup=null", "hydra.launcher.cpus_per_task=null"], []),
        (["hydra/launcher=slurm_gpu", "hydra.launcher.setup=[a,b]"], ["a", "b"]),
    ],
)
def test_no_setup_takes_a_slurm_jobs_processors_away(
    typed: list[str], own: list[str], tmp_path: Path
) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["hydra/launcher=slurm", "hydra.mode=MULTIRUN", f"hydra.sweep.dir={tmp_path}", *typed]
        config = compose("config", overrides=overrides, return_hydra_config=True)
    JobRecord().on_multirun_start(config)
    setup = list(config.hydra.launcher.setup)
    assert setup[2:] == own
    for cpus, expected in (("7", "7 7"), ("", "- -")):  # without cpus_per_task SLURM sets no such variable
        script = "\n".join([*setup[:2], 'echo "${SRUN_CPUS_PER_TASK:--} ${OMP_NUM_THREADS:--}"'])
        done = subprocess.run(
            ["bash", "-euc", script], env={"SLURM_CPUS_PER_TASK": cpus}, capture_output=True
        )
        assert done.stdout.decode().strip() == expected, done.stderr


@pytest.mark.parametrize(
    ("typed", "mode", "said"),
    [
        ([], "search", True),
        ([], "merge", True),
        (["mode=plan"], "plan", False),
        (["mode=merge,search"], "merge", True),
    ],
)
def test_ctrl_c_says_how_to_compare_later(
    typed: list[str], mode: str, said: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hydra = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": typed}}
    config = OmegaConf.create({"hydra": hydra, "mode": {"name": mode}})

    def interrupted() -> None:
        with compared():
            JobRecord().on_multirun_start(config)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (f"adamms mode=compare mode.folder={tmp_path}" in capsys.readouterr().out) == said
    with compared():
        pass  # of the interrupted one nothing is left
    assert capsys.readouterr().out == ""


def test_a_job_that_ctrl_c_stops_says_so(
    run, talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(run: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "start", stopped)
    done = run(
        "-m", "mode=merge", "merge.alpha=0.2,0.4", *pair(talkative), f"hydra.sweep.dir={tmp_path}/sweep"
    )
    assert (done.status, done.err) == (1, "")
    assert f" mode=compare mode.folder={tmp_path}/sweep" in done.out
    record = json.loads((tmp_path / "sweep/0/job.json").read_text())
    assert (record["state"], record["error"]) == ("failed", "interrupted")
    assert not (tmp_path / "sweep/1").exists()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["merge=linear,slerp", "output=OUT"], True),
        (["merge=linear,slerp", "output=OUT/${hydra:job.num}"], False),
        (["output=OUT/a,OUT/b"], False),
        (["merge=linear", "output=OUT"], False),
        (["search.grid=[0.0,0.3]", "output=OUT"], False),
        (["merge.alpha=range(0,1,0.1)", "output=OUT"], True),
    ],
)
def test_one_output_for_several_jobs_is_told_before_the_first(
    overrides: list[str], told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "mode": {"name": "merge"},
        "hydra": {"sweep": {"dir": "multirun"}, "overrides": {"task": overrides}},
    }
    with compared():
        JobRecord().on_multirun_start(OmegaConf.create(config))
        assert ("output=OUT is the folder of every job" in capsys.readouterr().out) is told
