"""Multiruns: every job leaves a record of itself, and the command ends with a comparison of what they left.

Jobs may run in other processes and on other machines, so the comparison reads what they left in files.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from adamms.app.config.messages import explain
from adamms.errors import AdammsError, program
from adamms.system.whole_file import write_whole


@dataclass(frozen=True)
class Multirun:
    """The multirun of this command: where it lies, and whether its jobs may leave something to compare."""

    folder: Path
    compared: bool


# Shell commands before a SLURM job's own `hydra.launcher.setup`. Since SLURM 22.05 srun does not take over
# sbatch's --cpus-per-task by itself, and a cluster may bind the program to fewer processors.
USE_ALL_CPUS = [
    f'if [ -n "$SLURM_CPUS_PER_TASK" ]; then export {name}=$SLURM_CPUS_PER_TASK; fi'
    for name in ("SRUN_CPUS_PER_TASK", "OMP_NUM_THREADS")
]
# Hydra reports no end if a job failed, so `compared` detects it.
_multirun: ContextVar[Multirun | None] = ContextVar("the multirun of this command", default=None)


class ExplainedReturn(JobReturn):
    """What is left of a job that a user's mistake ended. Hydra's own prints a line of its own before ours."""

    @property  # type: ignore[misc]  # from here on it is only read
    def return_value(self) -> Any:
        raise self._return_value


class JobRecord(Callback):
    """Hydra's callback (`hydra.callbacks` in conf/config.yaml): writes `job.json` into each job's folder.

    A run that is none of several gets no folder before its mode makes one.
    """

    _started = 0.0

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        from adamms.app.config.job import settle_output  # numpy; --help does without

        settle_output(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # As they were typed: ${hydra:job.num} has no value before the jobs.
        typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        modes = [item for item in typed if item.startswith("mode=")]
        mode = modes[-1].removeprefix("mode=") if modes else str(config.mode.name)
        launcher = config.hydra.get("launcher")
        if launcher and str(launcher.get("_target_")).endswith(".SlurmLauncher"):
            with read_write(config.hydra):
                launcher.setup = [*USE_ALL_CPUS, *(launcher.setup or [])]
        from adamms.report.compare.run_folders import COMPARED

        some = not set(COMPARED).isdisjoint(mode.split(","))
        _multirun.set(Multirun(Path(config.hydra.sweep.dir).absolute(), some))
        _warn_of_one_output(typed)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._started = time.monotonic()
        _record(config, config.hydra, {"state": "unfinished"})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        ended: dict[str, Any] = {"state": "done"}
        if job_return.status != JobStatus.COMPLETED:
            error = job_return._return_value  # the public property would raise it
            explained = explain(error)
            ended = {"state": "failed", "error": explained or f"{type(error).__name__}: {error}"}
            if explained is not None:
                job_return.__class__ = ExplainedReturn
        _record(config, config.hydra, ended | {"seconds": round(time.monotonic() - self._started, 1)})


def record_interrupt(config: DictConfig) -> None:
    """Write that the running job was stopped by Ctrl-C, of which Hydra does not tell its callbacks."""
    _record(config, HydraConfig.get(), {"state": "failed", "error": "interrupted"})


def _warn_of_one_output(overrides: Sequence[str]) -> None:
    """Say before the first of several jobs that all of them would write into the same folder."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed = [one for one in overrides if one.startswith("output=") and not re.search(r"[,$]", one)]
    if fixed and any(override.is_sweep_override() for override in parsed):
        from adamms.report.console import Console

        Console().warn(
            f"{fixed[-1]} is the folder of every job of this multirun: only the first can write its model "
            f"there. Leave it out, or give each its own: '{fixed[-1]}/${{hydra:job.num}}'"
        )


def _record(config: DictConfig, hydra: Any, how: dict[str, Any]) -> None:
    """Write what the job is, and how it went; outside multiruns nothing."""
    if hydra.mode != RunMode.MULTIRUN:
        return
    from adamms.report.compare.run_folders import RECORD

    folder = Path(hydra.runtime.output_dir)
    content = {
        "number": int(hydra.job.num),
        "overrides": OmegaConf.to_container(hydra.overrides.task, resolve=False),
        "mode": str(config.mode.name),
        "output": str(Path(config.output).absolute()),
    }
    # A job that is killed leaves a whole record, or the one before.
    write_whole(folder / RECORD, json.dumps(content | how, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def compared() -> Iterator[None]:
    """After a multirun in the body, compare what its jobs left, whether all went well or some failed."""
    before = _multirun.set(None)
    try:
        yield
    except KeyboardInterrupt:
        if (left := _multirun.get()) and left.compared:
            print(f"compare what has ended: {program()} mode=compare mode.folder={left.folder}")
        _multirun.set(None)
        raise
    finally:
        ended = _multirun.get()
        _multirun.reset(before)
        if ended is not None and ended.compared:
            # They take long to import; --help does without.
            from adamms.app.modes.compare import show
            from adamms.report.compare.pairing import gather
            from adamms.report.console import Console

            try:
                comparison = gather([ended.folder], ended.folder)
                if comparison.runs:
                    show(comparison, Console())
            except AdammsError as error:  # which must not hide why a job failed
                Console().warn(f"no comparison: {error}")
