"""An evaluation tool on a model's folder, in an interpreter of its own: can it run, and what did it find?

Owns the process and what is said of it; a tool's own module knows its command line and its files. Tools are
never imported here: they pin packages of their own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from adamms.errors import AdammsError, nearest
from adamms.evaluate.foreign.guest import END, MARK
from adamms.evaluate.foreign.results import ToolResults

# (title, total, unit) -> a context that is given `advance(count)`.
Stage = Callable[[str, int | None, str], AbstractContextManager[Callable[[int], None]]]

GUEST = Path(__file__).with_name("guest.py")
TAIL = 15  # lines of the tool's own words that an error shows
GRACE_SECONDS = 10.0
OTHER_BAR = re.compile(r"\d+%\|.*\|\s*\d+/\d+")


@dataclass(frozen=True)
class Backend:
    """What a tool said of itself.

    Args:
        version: of the tool.
        folder_argument: the model argument that takes the folder: "pretrained", "model", ...
    """

    version: str
    folder_argument: str


@dataclass(frozen=True, kw_only=True)
class Tool(ABC):
    """How a tool is run. What each value does is said in conf/evaluate/KEY.yaml.

        backend = tool.check(folder)  # before any work
        results = tool.run(folder, output, backend, console.stage)

    NAME is the tool's, KEY its key below `evaluate`, MAKE the target of `make` that installs it; BAR finds
    the progress bar of a model that answers.
    """

    NAME: ClassVar[str]
    KEY: ClassVar[str]
    MAKE: ClassVar[str]
    OWN_GUEST: ClassVar[Path]
    BAR: ClassVar["re.Pattern[str]"]
    TASKS: ClassVar[str]  # the key of the tasks
    LISTS: ClassVar[Mapping[str, str]] = {}  # "models", "tasks" -> what lists them, after the interpreter

    python: Path
    model: str
    model_args: Mapping[str, Any] | None
    arguments: Sequence[str]
    environment: Mapping[str, Any] | None

    @abstractmethod
    def request(self) -> dict[str, Any]:
        """What `look` is asked."""

    @abstractmethod
    def command(self, folder: Path, output: Path, backend: Backend) -> list[str]:
        """The words after "run"."""

    @abstractmethod
    def found(self, output: Path) -> dict[Path, float]:
        """The files with the tool's metrics that are there, and when each was written."""

    @abstractmethod
    def read(self, file: Path, output: Path, backend: Backend) -> ToolResults:
        """What one of these files holds."""

    def check(self, folder: Path) -> Backend:
        """Ask the other interpreter whether this can run on `folder`, which need not exist yet.

        Raises:
            AdammsError: no such interpreter, no such tool in it, a model, task or model argument that is not
                there.
        """
        answer = self._look()
        unknown = f"which {self.NAME} {answer['version']} does not know"
        if "models" in answer:
            raise AdammsError(
                f"evaluate.{self.KEY}.model is {self.model!r}, {unknown}{self._lists('models')}."
                + nearest(self.model, answer["models"])
            )
        if "failure" in answer:
            raise AdammsError(
                f"evaluate.{self.KEY}.model={self.model} does not import in {self.python}: "
                f"{answer['failure']}"
            )
        for task in answer.get("missing", ()):
            raise AdammsError(
                f"evaluate.{self.KEY}.{self.TASKS} has {task!r}, {unknown}{self._lists('tasks')}."
                + nearest(task, answer["tasks"])
            )
        known = answer.get("arguments")
        for name in self.model_args or {}:
            if known is not None and name not in known:
                raise AdammsError(
                    f"unknown key evaluate.{self.KEY}.model_args.{name}; {self.NAME}'s {self.model} takes "
                    f"{', '.join(known)}.{nearest(name, known)}"
                )
        return Backend(answer["version"], answer["folder_argument"])

    def run(self, folder: Path, output: Path, backend: Backend, stage: Stage) -> ToolResults:
        """Run it on a model's folder.

        Args:
            folder: of the model.
            output: where the tool's files and log go; made if missing.
            backend: what `check` has found.
            stage: shows progress.

        Raises:
            AdammsError: it failed, with its last lines. A tool may end with status 0 and no results.
        """
        log = output / "log.txt"
        try:
            output.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)  # a link is not written through
        except OSError as error:
            raise AdammsError(f"{log}: cannot be written ({error.strerror or error})") from error
        before = self.found(output)
        tail: deque[str] = deque(maxlen=TAIL)
        with (
            log.open("x", encoding="utf-8") as record,
            self._process(folder, output, backend) as process,
            _progress(self.NAME, stage) as progress,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                if bar := self.BAR.search(line):
                    progress(int(bar[1]), int(bar[2]))
                elif line.strip() and not OTHER_BAR.search(line):
                    record.write(line)
                    tail.append(line.rstrip())
            status = process.wait()
            new = sorted(file for file, time in self.found(output).items() if before.get(file) != time)
            if status != 0 or not new:
                how = f"ended with status {status}" if status else "wrote no results"
                raise AdammsError(
                    f"{self.NAME} {how} on {folder}, which is kept; its log is {log} and ends:"
                    + "".join(f"\n    {line}" for line in tail)
                )
        return self.read(new[-1], output, backend)

    def _lists(self, what: str) -> str:
        return f"; `{self.python} {self.LISTS[what]}` lists them" if what in self.LISTS else ""

    def _start(self, *words: str, **settings: Any) -> "subprocess.Popen[str]":
        """Run the guests over there; output is text, in which a carriage return ends a line, too."""
        own = {name: str(value) for name, value in (self.environment or {}).items()}
        text = GUEST.read_text(encoding="utf-8") + self.OWN_GUEST.read_text(encoding="utf-8") + END
        return subprocess.Popen(
            [str(self.python), "-c", text, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **own},
            **settings,
        )

    def _look(self) -> Mapping[str, Any]:
        """What `look` answers."""
        default = f".venv/{self.MAKE}/bin/python"
        install = (
            f"`make {self.MAKE}` in a checkout makes one that has it: evaluate.{self.KEY}.python={default}"
        )
        if shutil.which(str(self.python)) is None:
            raise AdammsError(f"evaluate.{self.KEY}.python: {self.python}: no such interpreter; {install}")
        with self._start("look", json.dumps(self.request()), stderr=subprocess.PIPE) as process:
            out, err = process.communicate()
        said = [line for line in out.splitlines() if line.startswith(MARK)]
        if process.returncode == 0 and said:
            return dict[str, Any](json.loads(said[-1].removeprefix(MARK)))
        words = err.strip().splitlines()[-TAIL:]
        if words and "NotFoundError: No " in words[-1]:  # module; or package metadata, of the tool itself
            how = f"cannot start in {self.python}: {words[-1].partition(': ')[2]}; {install}"
        else:
            how = f"does not start in {self.python}:" + "".join(f"\n    {word}" for word in words)
        raise AdammsError(f"evaluate.{self.KEY}.python: {self.NAME} {how}")

    @contextmanager
    def _process(self, folder: Path, output: Path, backend: Backend) -> Iterator[subprocess.Popen[str]]:
        """The tool in a session of its own, which is gone afterwards with all that it has started."""
        command = self.command(folder, output, backend)
        process = self._start("run", *command, stderr=subprocess.STDOUT, start_new_session=True)
        with process:
            try:
                threading.Thread(target=_end_orphans, args=(process,), daemon=True).start()
                yield process
            finally:
                if process.poll() is None:  # its workers get time to end what they started
                    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                        os.killpg(process.pid, signal.SIGTERM)
                        process.wait(GRACE_SECONDS)
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _progress(name: str, stage: Stage) -> Iterator[Callable[[int, int], None]]:
    """Shows a tool's own progress bars as stages: first its start, then the answers."""
    with ExitStack() as stack:
        stack.enter_context(stage(f"start {name}", None, ""))
        shown = length = 0
        advance: Callable[[int], None] | None = None

        def show(done: int, total: int) -> None:
            """A bar says `done` of `total`. One that starts again, or has another length, is a new stage."""
            nonlocal shown, length, advance
            if advance is None or total != length or done < shown:
                stack.close()
                advance = stack.enter_context(stage(name, total, "requests"))
                shown, length = 0, total
            advance(done - shown)
            shown = done

        yield show


def _end_orphans(process: subprocess.Popen[str]) -> None:
    """When the process has ended, kill what it has started: an orphan would keep its output open."""
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def written(output: Path, pattern: str) -> dict[Path, float]:
    """The files of a pattern below a folder, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in output.rglob(pattern)}


def check_arguments(key: str, arguments: Sequence[str], own: set[str]) -> None:
    """Raise AdammsError if one of the further arguments has a key of its own."""
    for argument in arguments:
        if argument.partition("=")[0] in own:
            raise AdammsError(f"evaluate.{key}.arguments has {argument!r}, which has a key of its own")
