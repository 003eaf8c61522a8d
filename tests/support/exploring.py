"""An explorer of the tiny models, as mode=explore opens it, and the program that serves its page."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from command import ROOT, STRANGERS, pair, read_run, write_jsonl

from adamms.app.explorer.explorer import Explorer
from adamms.app.modes.explore import opened
from adamms.app.modes.respond import respond
from adamms.data.example import Label
from adamms.report.console import Console

GRID = "search.grid=[0,0.25,0.5,1]"

RUN = (sys.executable, ROOT / "run.py", STRANGERS)


def given(models: Path, folder: Path, *overrides: str) -> list[str]:
    """The command line, but for the mode."""
    data = folder / "data.jsonl"
    data = data if data.exists() else write_jsonl(folder, per_task=2)
    own = [f"output={folder / 'out'}", f"cache={folder / 'cache'}", "engine.max_new_tokens=3"]
    grid = [] if any(item.startswith("search.grid") for item in overrides) else [GRID]
    return [*pair(models), "data=jsonl", f"data.path={data}", *grid, *own, *overrides]


@contextmanager
def exploring(
    models: Path, folder: Path, *overrides: str
) -> Iterator[tuple[Explorer, Mapping[str, Label], io.StringIO]]:
    """The explorer, the labels, and what is said on the console."""
    said = io.StringIO()
    run = read_run("mode=explore", *given(models, folder, *overrides))
    with opened(run, Console(file=said), examples=2, likeliest=3) as (explorer, labels):
        yield explorer, labels, said


def responded(models: Path, folder: Path, candidate: str, *overrides: str) -> dict[str, str]:
    """Example id -> what mode=respond answers."""
    own = [
        f"candidate={candidate}",
        f"store={folder / 'other store'}",
    ]  # nothing is taken from the explorer's
    run = read_run("mode=respond", *given(models, folder, *own, *overrides))
    result = respond(run, Console(file=io.StringIO()))
    return {one.example.id: text for one in result.answered for text in one.texts.values()}


@contextmanager
def serving(folder: Path, *command: str | Path, seconds: float = 120) -> Iterator[tuple[str, Path]]:
    """The program, in this folder, until its page is there; Ctrl-C at the end, which must end all of it.

    Returns:
        The page's address, and the file with what the program says.
    """
    log, own = folder / "explore.log", {"ADAMMS_CACHE": str(folder / "cache"), "COLUMNS": "80"}
    with log.open("w") as said:
        program = subprocess.Popen(
            command,
            cwd=folder,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | own,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + seconds
        while not (found := re.search(r"^explore: (http\S+)", log.read_text(), re.MULTILINE)):
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield found[1], log
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0, log.read_text()
        assert "explore: ended" in log.read_text()
        assert left_of(program.pid) == []
    finally:
        for pid in left_of(program.pid):
            os.kill(pid, signal.SIGKILL)


def left_of(session: int) -> list[int]:
    """The processes of a session that still run, and of those that have begun one of their own in it."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, own = file.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z" and session in (int(parent), int(own)):
            found.append(int(file.parent.name))
    return found
