"""What a user sees of a real process: help, information, a search under a pipe, a merge on a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, STRANGERS, pair, write_jsonl

RUN = [sys.executable, str(ROOT / "run.py")]
ESCAPE = "\x1b"


def listed(flags: list[str], folder: Path) -> str:
    """What run.py prints, without torch being there to be imported."""
    code = f"import runpy, sys; sys.modules['torch'] = None; sys.argv = ['run.py', *{flags!r}]\n"
    code += f"runpy.run_path({RUN[1]!r}, run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_help_names_modes_groups_and_options_without_torch(tmp_path: Path) -> None:
    said = listed(["--help"], tmp_path)
    lines = said.splitlines()
    assert len(lines) < 80
    groups = {line.partition(":")[0]: line.partition(": ")[2].split(", ") for line in lines if ": " in line}
    for folder in ("mode", "merge", "model", "engine", "search/difference", "track", "experiment", "tune"):
        assert groups[folder] == sorted(file.stem for file in (ROOT / "conf" / folder).glob("*.yaml"))
    own = {file.stem for file in (ROOT / "conf/hydra/launcher").glob("*.yaml")}
    assert set(groups["hydra/launcher"]) == own | {"basic"}
    for mode in groups["mode"]:
        assert any(line.startswith(f"mode={mode} ") for line in lines), mode
    options = lines.index("== Groups and their options ==")
    assert [line for line in lines[:options] if len(line) > 80] == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("defaults", "search/adamms"),
        ("config", "max_shard_gb: 5"),
        ("plugins", "Launcher"),
        ("searchpath", "conf"),
    ],
)
def test_info(kind: str, word: str, tmp_path: Path) -> None:
    assert word in listed(["--info", kind], tmp_path)


def test_a_search_under_a_pipe_is_plain_and_quiet(talkative: Path, tmp_path: Path) -> None:
    settings = ["search.grid=[0,0.3,0.6,0.9]", "search.samples=1", "engine.max_new_tokens=2", STRANGERS]
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1)}", "output=out"]
    environment = os.environ | {"ADAMMS_CACHE": str(tmp_path / "cache")}
    environment.pop("COLUMNS", None)
    command = [
        *RUN,
        *pair(talkative),
        f"model.ancestor.path={talkative / 'ancestor'}",
        *data,
        *settings,
        STRANGERS,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert ESCAPE not in done.stdout
    assert "\r" not in done.stdout
    # Paths and commands are to be copied, so they are not broken.
    wide = [line for line in done.stdout.splitlines() if len(line) > 80 and "/" not in line]
    assert wide == []


def test_a_merge_on_a_terminal_shows_its_progress(talkative: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"ADAMMS_CACHE": str(tmp_path / "cache"), "TERM": "xterm", "COLUMNS": "80"}
    command = [*RUN, "mode=merge", *pair(talkative), "output=out", STRANGERS]
    with subprocess.Popen(command, cwd=tmp_path, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # so Linux says that nobody writes there any more
            pass
    os.close(ours)
    assert process.returncode == 0, said
    assert b"\x1b[?25l" in said  # the cursor is hidden while a bar moves
    assert "━".encode() in said
