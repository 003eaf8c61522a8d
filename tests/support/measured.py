"""What a process costs: wall and processor time, and memory."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """Seconds of one process and of those that it waited for, and its largest memory in GB."""

    wall: float
    processor: float
    memory: float


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command in `folder` to its end; the whole measurement ends where it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            sys.exit(f"{' '.join(command[:2])} failed:\n{said.read()}")
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)


def medians(runs: Sequence[Run]) -> Run:
    """The median of each figure."""
    return Run(
        statistics.median(one.wall for one in runs),
        statistics.median(one.processor for one in runs),
        statistics.median(one.memory for one in runs),
    )
