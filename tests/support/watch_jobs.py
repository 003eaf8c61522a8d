"""A Hydra callback that notes, after each job of a multirun, what the job has left in the process."""

import json
import os
import re
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from adamms.engines.child import ChildProcess
from adamms.engines.vllm.engine import VllmEngine

NOTES = "WATCH_JOBS_NOTES"


class Watch(Callback):
    """Appends one JSON object per job to $WATCH_JOBS_NOTES.

    `started`: pids of the child processes that the job started; `engines`: those of them that are vLLM's;
    `alive`: those of its session that still are; `children`: all children of this process; `resident`:
    bytes; `encoded`: images encoded by each engine that has ended.
    """

    def __init__(self) -> None:
        self.started: list[int] = []
        self.engines: list[int] = []
        self.encoded: list[int] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        start, leave = ChildProcess.__init__, VllmEngine.__exit__

        def counted(child: ChildProcess, name: str, module: str, *args: Any) -> None:
            start(child, name, module, *args)
            self.started.append(child.pid)
            if "vllm" in module:
                self.engines.append(child.pid)

        def noted(engine: VllmEngine, *error: object) -> None:
            leave(engine, *error)
            self.encoded.append(engine.images_encoded)

        ChildProcess.__init__, VllmEngine.__exit__ = counted, noted  # type: ignore[method-assign]

    def on_job_end(self, config: DictConfig, **kwargs: Any) -> None:
        status = Path("/proc/self/status").read_text()
        children = [
            int(child)
            for task in Path("/proc/self/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        note = {
            "started": self.started,
            "engines": self.engines,
            "alive": [leader for leader in self.started if in_session(leader)],
            "children": children,
            "resident": int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024,  # type: ignore[index]
            "encoded": self.encoded,
        }
        with Path(os.environ[NOTES]).open("a") as file:
            file.write(json.dumps(note) + "\n")
        self.started, self.engines, self.encoded = [], [], []


def in_session(leader: int) -> list[int]:
    """The processes whose session is the one that `leader` made."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if int(fields[3]) == leader:
            found.append(int(stat.parent.name))
    return found
