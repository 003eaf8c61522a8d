"""The command line in this process, and inputs for it."""

import json
import runpy
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from adamms.app.modes.common import start
from adamms.app.settings import Run, read

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
# Most tiny checkpoints are random, so that no two have a common ancestor; tests of that check say false.
STRANGERS = "plan.force=true"


def composed(*overrides: str) -> DictConfig:
    """The configuration of a command line, without Hydra's main."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=["output=out", "cache=cache", STRANGERS, *overrides])


def read_run(*overrides: str) -> Run:
    """The same, read: everything that was configured, checked and typed."""
    return read(composed(*overrides))


def start_run(*overrides: str) -> None:
    """Run the mode in this process."""
    start(read_run(*overrides))


@dataclass(frozen=True)
class Outcome:
    """What one run left: exit status, standard output and error."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run `run.py` with these overrides in a working directory of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ADAMMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*overrides: str) -> Outcome:
        options = overrides[:1] and overrides[0].startswith("-")  # argparse has none after an override
        given = [*overrides, STRANGERS] if options else [STRANGERS, *overrides]
        monkeypatch.setattr(sys, "argv", ["run.py", *given])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else 1
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which an interrupted run leaves alone
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


def pair(folder: Path) -> list[str]:
    return [
        "model=custom",
        f"model.target.path={folder / 'target'}",
        f"model.donors.a.path={folder / 'donor'}",
    ]


def write_jsonl(folder: Path, per_task: int = 3, labels: bool = True) -> Path:
    from configured import configured  # which imports this module

    data = configured("data/digits", folder=folder / "images", per_task=per_task).load()
    lines = []
    for example in data.examples:
        record = {"id": example.id, "task": example.task, "question": example.question}
        record["image"] = str(example.image.relative_to(folder))
        lines.append(record | ({"answer": str(data.answers[example.id])} if labels else {}))
    file = folder / "data.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file
