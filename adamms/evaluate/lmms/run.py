"""lmms-eval on a model's folder, in an interpreter of its own: is it able to run, and what did it find?

Owns the command line and the process. `results` reads what it leaves; `guest` is what runs over there.
lmms-eval is never imported here: it pins packages of its own.
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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt

from adamms.errors import AdammsError, nearest
from adamms.evaluate.lmms.guest import MARK
from adamms.evaluate.lmms.results import RESULTS, LmmsResults, read_results

# (title, total, unit) -> a context that is given `advance(count)`.
Stage = Callable[[str, int | None, str], AbstractContextManager[Callable[[int], None]]]

GUEST = Path(__file__).with_name("guest.py")
INSTALL = "`make lmms-eval` makes one that has it: evaluate.lmms_eval.python=.venv/lmms-eval/bin/python"
TAIL = 15  # lines of lmms-eval's own words that an error shows
GRACE_SECONDS = 10.0
# A progress bar of a model that answers, as tqdm draws it: "Model Responding:  12%|#2   | 5/40 [00:01<...".
BAR = re.compile(r"Responding:\s+\d+%\|.*\|\s*(\d+)/(\d+)")
OTHER_BAR = re.compile(r"\d+%\|.*\|\s*\d+/\d+")
# What this module sets, or replaces, besides the arguments that are keys of evaluate.lmms_eval.
OWN_ARGUMENTS = ("--output_path", "--log_samples", "--config")


@dataclass(frozen=True)
class Backend:
    """What lmms-eval said of itself.

    Args:
        version: of lmms-eval.
        folder_argument: the model argument that takes the folder: "pretrained", "model", ...
    """

    version: str
    folder_argument: str


@dataclass(frozen=True, kw_only=True)
class LmmsEval:
    """How lmms-eval is run. What each value does is said in conf/evaluate/lmms_eval.yaml.

        evaluator = LmmsEval(python=Path(".venv/lmms-eval/bin/python"), tasks=["mme"], model="vllm", ...)
        backend = evaluator.check(folder)  # before any work
        results = evaluator.run(folder, output, backend, console.stage)

    Raises:
        AdammsError: an argument that another key sets.
    """

    python: Path
    tasks: Annotated[Sequence[str], MinLen(1)]
    model: str
    model_args: Mapping[str, Any] | None
    batch_size: PositiveInt
    limit: PositiveFloat | None
    include_path: Path | None
    gen_kwargs: Mapping[str, Any] | None
    arguments: Sequence[str]
    environment: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        own = {f"--{key.name}" for key in fields(self)}.union(OWN_ARGUMENTS)
        for argument in self.arguments:
            if argument.partition("=")[0] in own:
                raise AdammsError(
                    f"evaluate.lmms_eval.arguments has {argument!r}, which has a key of its own"
                )

    def check(self, folder: Path) -> Backend:
        """Ask the other interpreter whether this can run on `folder`, which need not exist yet.

        Raises:
            AdammsError: no such interpreter, no lmms-eval in it, a backend, task, model argument or
                include_path that is not there, a folder that lmms-eval cannot be told.
        """
        if "," in str(folder.absolute()):
            raise AdammsError(f"{folder.absolute()}: lmms-eval cannot be given a path with a comma in it")
        if self.include_path is not None and not self.include_path.is_dir():
            raise AdammsError(f"evaluate.lmms_eval.include_path: {self.include_path}: no such folder")
        answer = self._look()
        unknown = f"which lmms-eval {answer['version']} does not know; `{self.python} -m lmms_eval"
        if "models" in answer:
            raise AdammsError(
                f"evaluate.lmms_eval.model is {self.model!r}, {unknown} models` lists them."
                + nearest(self.model, answer["models"])
            )
        if "failure" in answer:
            raise AdammsError(
                f"evaluate.lmms_eval.model={self.model} does not import in {self.python}: {answer['failure']}"
            )
        for task in answer.get("missing", ()):
            raise AdammsError(
                f"evaluate.lmms_eval.tasks has {task!r}, {unknown} tasks` lists them."
                + nearest(task, answer["tasks"])
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
            AdammsError: it failed, with its last lines. lmms-eval may end with status 0 and no results.
        """
        log = output / "log.txt"
        try:
            output.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)  # a link is not written through
        except OSError as error:
            raise AdammsError(f"{log}: cannot be written ({error.strerror or error})") from error
        before = set(output.rglob(f"*{RESULTS}"))
        tail: deque[str] = deque(maxlen=TAIL)
        with (
            log.open("x", encoding="utf-8") as record,
            self._process(folder, output, backend) as process,
            _progress(stage) as progress,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                if bar := BAR.search(line):
                    progress(int(bar[1]), int(bar[2]))
                elif line.strip() and not OTHER_BAR.search(line):
                    record.write(line)
                    tail.append(line.rstrip())
            status = process.wait()
            new = sorted(set(output.rglob(f"*{RESULTS}")) - before)
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
        return [*given, "--log_samples", *self.arguments]

    def _start(self, *words: str, **settings: Any) -> "subprocess.Popen[str]":
        """Run `guest` over there; its output is text, in which a carriage return ends a line, too."""
        own = {name: str(value) for name, value in (self.environment or {}).items()}
        return subprocess.Popen(
            [str(self.python), "-c", GUEST.read_text(encoding="utf-8"), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **own},
            **settings,
        )

    def _look(self) -> Mapping[str, Any]:
        """What `guest.look` answers."""
        if shutil.which(str(self.python)) is None:
            raise AdammsError(f"evaluate.lmms_eval.python: {self.python}: no such interpreter; {INSTALL}")
        include = None if self.include_path is None else str(self.include_path.absolute())
        request = {"model": self.model, "tasks": list(self.tasks), "include_path": include}
        with self._start("look", json.dumps(request), stderr=subprocess.PIPE) as process:
            out, err = process.communicate()
        said = [line for line in out.splitlines() if line.startswith(MARK)]
        if process.returncode == 0 and said:
            return dict[str, Any](json.loads(said[-1].removeprefix(MARK)))
        words = err.strip().splitlines()[-TAIL:]
        if words and "NotFoundError: No " in words[-1]:  # module; or package metadata, of lmms-eval itself
            how = f"cannot start in {self.python}: {words[-1].partition(': ')[2]}; {INSTALL}"
        else:
            how = f"does not start in {self.python}:" + "".join(f"\n    {word}" for word in words)
        raise AdammsError(f"evaluate.lmms_eval.python: lmms-eval {how}")

    @contextmanager
    def _process(self, folder: Path, output: Path, backend: Backend) -> Iterator[subprocess.Popen[str]]:
        """lmms-eval in a session of its own, which is gone afterwards with all that it has started."""
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
def _progress(stage: Stage) -> Iterator[Callable[[int, int], None]]:
    """Shows lmms-eval's own progress bars as stages: first its start, then the answers."""
    with ExitStack() as stack:
        stack.enter_context(stage("start lmms-eval", None, ""))
        shown = length = 0
        advance: Callable[[int], None] | None = None

        def show(done: int, total: int) -> None:
            """A bar says `done` of `total`. One that starts again, or has another length, is a new stage."""
            nonlocal shown, length, advance
            if advance is None or total != length or done < shown:
                stack.close()
                advance = stack.enter_context(stage("lmms-eval", total, "requests"))
                shown, length = 0, total
            advance(done - shown)
            shown = done

        yield show


def _end_orphans(process: subprocess.Popen[str]) -> None:
    """When the process has ended, kill what it has started: an orphan would keep its output open."""
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
