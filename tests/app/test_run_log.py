"""run.log and .hydra lie where the results are, also of a failed run; a refused run leaves nothing."""

import io
import os
from pathlib import Path

import pytest
import yaml
from command import pair, read_run

from adamms.app.modes.common import kept_log
from adamms.report.console import Console
from adamms.report.run_log import RunLog


def left(folder: Path) -> list[str]:
    """All files there but those of models."""
    files = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if "model/" not in name)


def test_what_the_console_said_stays(run, talkative: Path, tmp_path: Path) -> None:
    """A second run in the same folder goes on below."""
    out = tmp_path / "out"
    done = [run(f"mode={mode}", *pair(talkative), f"output={out}") for mode in ("plan", "merge")]
    assert [each.status for each in done] == [0, 0]
    first, *lines = (out / "run.log").read_text().splitlines()
    assert first.partition(": ")[2].startswith("python run.py plan.force=true mode=plan model=custom")
    second = next(number for number, line in enumerate(lines) if "mode=merge" in line)
    assert lines[:second] == done[0].out.splitlines()
    assert lines[second + 1 :] == done[1].out.splitlines()
    assert left(tmp_path / "work") == []  # where the command was typed
    assert "mode=merge" in yaml.safe_load((out / ".hydra/overrides.yaml").read_text())
    assert yaml.safe_load((out / ".hydra/config.yaml").read_text())["mode"]["name"] == "merge"


@pytest.mark.parametrize(
    "typed",
    [
        ["mode=plan", "merge.alhpa=1"],
        ["mode=plan", "max_shard_gb=-1"],
        ["mode=plan", "model.target.path=NO"],
        ["mode=merge", "model.donors.a.path=NO"],
        ["mode=merge", "evaluate=lmms_eval"],
        ["mode=search", "data=jsonl", "data.path=NO"],
        ["mode=evaluate", "model_folder=NO"],
        ["mode=compare", "mode.folder=NO"],
        ["mode=push", "mode.folder=NO", "mode.repo=a/b"],
    ],
)
@pytest.mark.parametrize("output", [[], ["output=out/deep"]])
def test_a_run_that_is_refused_leaves_nothing(
    run, talkative: Path, tmp_path: Path, typed: list[str], output: list[str]
) -> None:
    done = run(*pair(talkative), *typed, *output)
    assert done.status == 2
    assert not list((tmp_path / "work").iterdir())


def test_an_interrupted_run_says_so_in_a_word(tmp_path: Path) -> None:
    def begin_and_stop(log: RunLog) -> None:
        log.begin()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), kept_log(read_run("mode=plan", f"output={tmp_path}")) as log:
        begin_and_stop(log)
    assert (tmp_path / "run.log").read_text().splitlines()[1:] == ["error: interrupted"]


def test_a_run_that_fails_has_a_log_with_the_error(run, talkative: Path, tmp_path: Path) -> None:
    """At its end: a card cannot be written where a folder is. In a multirun every job has its own."""
    sweep = tmp_path / "sweep"
    (sweep / "1/plan.json/folder").mkdir(parents=True)
    done = run("-m", "mode=merge", "merge.alpha=0.2,0.4", *pair(talkative), f"hydra.sweep.dir={sweep}")
    assert done.status == 2
    said = [(sweep / f"{job}/run.log").read_text().splitlines() for job in (0, 1)]
    assert said[0][-2].startswith("The merged model is in ")
    assert said[1][-1] == done.err.splitlines()[-1]
    assert "merge.alpha=0.4" in said[1][0]
    assert (sweep / "1/.hydra/config.yaml").is_file()
    assert left(tmp_path / "work") == []


def test_doctor_leaves_nothing(run, talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adamms.app.checks.environment.has_vllm", lambda: False)  # which takes long to import
    assert "doctor:" in run("mode=doctor", *pair(talkative), "output=out").out
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_log_is_never_written_through_a_link(tmp_path: Path, link) -> None:
    (tmp_path / "other").write_text("kept\n")
    (tmp_path / "out").mkdir()
    link(tmp_path / "other", tmp_path / "out/run.log")
    log = RunLog(tmp_path / "out", "heading", {})
    console = Console(file=io.StringIO(), log=log)
    console.say("one")
    console.begin()
    console.warn("two")
    log.close()
    assert (tmp_path / "other").read_text() == "kept\n"
    assert (tmp_path / "out/run.log").read_text() == "heading\none\nwarning: two\n"
