"""lmms-eval on a model's folder: checks that it can run, runs it in its own interpreter, shows its progress.

Owns the command line and the process. What it leaves is read by `lmms_results`; what runs over there is
`lmms_guest`. lmms-eval itself is never imported here: it pins packages of its own. (A line over 300.)
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from adamms.errors import AdammsError, nearest
from adamms.evaluate.lmms.guest import MARK
from adamms.evaluate.lmms.results import LmmsResults, read_results, result_files

# (title, total, unit) -> a context that is given `advance(count)`.
Stage = Callable[[str, int | None, str], AbstractContextManager[Callable[[int], None]]]

GUEST = Path(__file__).with_name("guest.py")
INSTALL = "`make lmms-eval` makes one that has it: evaluate.lmms_eval.python=.venv/lmms-eval/bin/python"
LOG = "log.txt"
TAIL = 15  # lines of lmms-eval's own words that an error shows
GRACE_SECONDS = 10.0
# A progress bar of a model that answers, as tqdm draws it: "Model Responding:  12%|#2   | 5/40 [00:01<...".
BAR = re.compile(r"Responding:\s+\d+%\|.*\|\s*(\d+)/(\d+)")
OTHER_BAR = re.compile(r"\d+%\|.*\|\s*\d+/\d+")
OWN_ARGUMENTS = (
    *("--model", "--model_args", "--tasks", "--batch_size", "--limit", "--include_path", "--gen_kwargs"),
    *("--output_path", "--log_samples", "--config"),
)


@dataclass(frozen=True)
class Backend:
    """What lmms-eval said of itself.

    Args:
        version: of lmms-eval.
        folder_argument: the model argument that takes the folder: "pretrained", "model", ...
    """

    version: str
    folder_argument: str


@dataclass(frozen=True)
class LmmsEval:
    """How lmms-eval is run.

    Args:
        python: the interpreter that has lmms-eval; a path, or a command.
        tasks: names of its tasks or groups, with * for any; or of YAML files.
        model: its name for what runs the model: `vllm`, or one for the model's family.
        model_args: what that is given besides the folder, e.g. dtype; values may be mappings.
        batch_size: examples generated together; some backends take only 1.
        limit: examples of each task: a number, or below 1 a share; null for all.
        include_path: a folder with tasks of one's own.
        gen_kwargs: what replaces the tasks' own generation settings, e.g. max_new_tokens.
        arguments: more for its command line, as they are.
        environment: variables in addition to this process's own.

    Raises:
        AdammsError: no tasks, a limit or batch size that is none, or an argument that is set elsewhere.
    """

    python: Path
    tasks: Sequence[str]
    model: str = "vllm"
    model_args: Mapping[str, Any] | None = None
    batch_size: PositiveInt = 1
    limit: PositiveFloat | None = None
    include_path: Path | None = None
    gen_kwargs: Mapping[str, Any] | None = None
    arguments: Sequence[str] = ()
    environment: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise AdammsError("evaluate.lmms_eval.tasks is empty; expected names of lmms-eval's tasks")
        if self.batch_size < 1 or (self.limit is not None and self.limit <= 0):
            raise AdammsError("evaluate.lmms_eval: batch_size must be at least 1, and limit more than 0")
        for argument in self.arguments:
            if str(argument).partition("=")[0] in OWN_ARGUMENTS:
                raise AdammsError(
                    f"evaluate.lmms_eval.arguments has {argument!r}, which has a key of its own"
                )

    def check(self, folder: Path) -> Backend:
        """Ask the other interpreter, before any work, whether this could run on `folder`, there or not yet.

        Raises:
            AdammsError: no such interpreter, no lmms-eval in it, a backend, task, model argument or
                include_path that is not there, a folder that lmms-eval cannot be told.
        """
        if "," in str(folder.absolute()):
            raise AdammsError(f"{folder.absolute()}: lmms-eval cannot be given a path with a comma in it")
        if self.include_path is not None and not self.include_path.is_dir():
            raise AdammsError(f"evaluate.lmms_eval.include_path: {self.include_path}: no such folder")
        answer = self._look()
        if "models" in answer:
            raise AdammsError(
                f"evaluate.lmms_eval.model is {self.model!r}, which lmms-eval {answer['version']} does not "
                f"know; `{self._python} -m lmms_eval models` lists them."
                + nearest(self.model, answer["models"])
            )
        if "failure" in answer:
            raise AdammsError(
                f"evaluate.lmms_eval.model={self.model} does not import in {self._python}: "
                f"{answer['failure']}"
            )
        for task in answer.get("missing", ()):
            raise AdammsError(
                f"evaluate.lmms_eval.tasks has {task!r}, which lmms-eval {answer['version']} does not know; "
                f"`{self._python} -m lmms_eval tasks` lists them." + nearest(task, answer["tasks"])
            )
        known = answer.get("arguments")
        for name in self.model_args or {}:
            if known is not None and name not in known:
                raise AdammsError(
                    f"unknown key evaluate.lmms_eval.model_args.{name}; lmms-eval's {self.model} takes "
                    f"{', '.join(known)}.{nearest(name, known)}"
                )
        return Backend(answer["version"], answer["folder_argument"])

    def run(self, folder: Path, output: Path, backend: Backend, stage: Stage) -> LmmsResults:
        """Run it on a model's folder.

        Args:
            folder: of the model.
            output: where lmms-eval's files and log go; made if missing.
            backend: what `check` has found.
            stage: shows progress.

        Raises:
            AdammsError: it failed, with its last lines. lmms-eval ends with status 0 then, too: that it has
                written no results tells.
        """
        output.mkdir(parents=True, exist_ok=True)
        before = result_files(output)
        log = output / LOG
        tail: deque[str] = deque(maxlen=TAIL)
        with (
            log.open("w", encoding="utf-8") as record,
            self._process(folder, output, backend) as process,
            _Progress(stage) as progress,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                if bar := BAR.search(line):
                    progress.at(int(bar[1]), int(bar[2]))
                elif line.strip() and not OTHER_BAR.search(line):
                    record.write(line)
                    tail.append(line.rstrip())
            status = process.wait()
            new = sorted(result_files(output) - before)
            if status != 0 or not new:
                how = f"ended with status {status}" if status else "wrote no results"
                raise AdammsError(
                    f"lmms-eval {how} on {folder}, which is kept; its log is {log} and ends:"
                    + "".join(f"\n    {line}" for line in tail)
                )
        return read_results(new[-1], output, backend.version)

    def command(self, folder: Path, output: Path, backend: Backend) -> list[str]:
        """lmms-eval's arguments."""
        model_args = {backend.folder_argument: folder.absolute(), **(self.model_args or {})}
        pairs = {
            "--model": self.model,
            "--model_args": _pairs(model_args),
            "--tasks": ",".join(self.tasks),
            "--batch_size": self.batch_size,
            "--output_path": output.absolute(),
            "--limit": self.limit,
            "--include_path": None if self.include_path is None else self.include_path.absolute(),
            "--gen_kwargs": _pairs(self.gen_kwargs or {}) or None,
        }
        given = [str(word) for name, value in pairs.items() if value is not None for word in (name, value)]
        return [*given, "--log_samples", *map(str, self.arguments)]

    @property
    def _python(self) -> str:
        return str(self.python)

    @property
    def _environment(self) -> dict[str, str]:
        own = {name: str(value) for name, value in (self.environment or {}).items()}
        return {**os.environ, "PYTHONUNBUFFERED": "1", **own}

    def _look(self) -> Mapping[str, Any]:
        """What `lmms_guest.look` answers."""
        if shutil.which(self._python) is None:
            raise AdammsError(f"evaluate.lmms_eval.python: {self.python}: no such interpreter; {INSTALL}")
        request = {
            "model": self.model,
            "tasks": list(self.tasks),
            "include_path": None if self.include_path is None else str(self.include_path.absolute()),
        }
        done = subprocess.run(
            [self._python, "-c", GUEST.read_text(encoding="utf-8"), "look", json.dumps(request)],
            capture_output=True,
            text=True,
            errors="replace",
            env=self._environment,
            check=False,
        )
        said = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if done.returncode == 0 and said:
            answer: Mapping[str, Any] = json.loads(said[-1].removeprefix(MARK))
            return answer
        words = done.stderr.strip().splitlines()[-TAIL:]
        if words and "lmms_eval" in words[-1] and "No" in words[-1]:
            raise AdammsError(f"evaluate.lmms_eval.python: {self.python} has no lmms_eval; {INSTALL}")
        raise AdammsError(
            f"evaluate.lmms_eval.python: lmms-eval does not start in {self.python}:"
            + "".join(f"\n    {word}" for word in words)
        )

    @contextmanager
    def _process(self, folder: Path, output: Path, backend: Backend) -> Iterator[subprocess.Popen[str]]:
        """lmms-eval in a session of its own, which is gone afterwards with all that it has started."""
        process = subprocess.Popen(
            [
                *(self._python, "-c", GUEST.read_text(encoding="utf-8"), "run"),
                *self.command(folder, output, backend),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,  # and so a carriage return, with which bars are redrawn, ends a line
            errors="replace",
            env=self._environment,
            start_new_session=True,
        )
        with process:
            try:
                threading.Thread(target=_end_orphans, args=(process,), daemon=True).start()
                yield process
            finally:
                if process.poll() is None:
                    _end(process)


class _Progress:
    """lmms-eval's own bar as stages: its start, and then the answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stack = ExitStack()
        self._advance: Callable[[int], None] | None = None
        self._done = self._total = 0

    def __enter__(self) -> "_Progress":
        self._stack.enter_context(self._stage("start lmms-eval", None, ""))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def at(self, done: int, total: int) -> None:
        """A bar says `done` of `total`; one that starts again, or has another length, is another stage."""
        if self._advance is None or total != self._total or done < self._done:
            self._stack.close()
            self._advance = self._stack.enter_context(self._stage("lmms-eval", total, "requests"))
            self._done, self._total = 0, total
        self._advance(done - self._done)
        self._done = done


def _end(process: subprocess.Popen[str]) -> None:
    """Ask the process and its session to end, so that its workers can end their own; then end it."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_orphans(process: subprocess.Popen[str]) -> None:
    """When the process has ended, end what it has started: an orphan would hold its output open."""
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _pairs(values: Mapping[str, Any]) -> str:
    """`key=value,key=value`, as lmms-eval takes it; mappings and lists as JSON."""
    return ",".join(
        f"{name}={json.dumps(value) if isinstance(value, dict | list) else value}"
        for name, value in values.items()
        if value is not None
    )
