"""Whether a process runs, waiting for what another process does, and names of what it imports."""

import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def unknown(modules: Iterable[str]) -> list[str]:
    """Modules that their package, which is installed, has not: they were renamed."""
    return [name for name in modules if find_spec(name.partition(".")[0]) and find_spec(name) is None]
