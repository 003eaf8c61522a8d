"""vLLM's processes, forked from one of this session that has imported vLLM: importing it takes ten seconds.

For tests that start engines in their own process. In every other way a fork is what
`python -m adamms.engines.vllm.process` would be. Programs that tests start do without. Workers of several
devices are new processes, as vLLM has it on CPUs; with $FORKED_WORKERS they are forks, too.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest

from adamms.engines import child
from adamms.engines.vllm.client import ENVIRONMENT

MODULE = "adamms.engines.vllm.process"
WORKERS = "FORKED_WORKERS"


class Origin:
    """The process that has imported vLLM; it starts when first asked for. One thread at a time asks."""

    def __init__(self) -> None:
        self.lock = Lock()

    @cached_property
    def connection(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        assert ours.recv() == "ready"
        return ours

    def end(self) -> None:
        if "connection" in self.__dict__:
            self.connection.close()
            self.process.wait()


class Forked:
    """What `ChildProcess` knows of a `Popen`."""

    def __init__(self, origin: Origin, command: list[str], **given: Any) -> None:
        self._origin = origin
        with origin.lock:
            origin.connection.send(("fork", given["env"]))
            for descriptor in (given["pass_fds"][0], given["stdout"].fileno()):
                send_handle(origin.connection, descriptor, origin.process.pid)
            self.pid: int = origin.connection.recv()
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int | None:
        if self.returncode is None:
            with self._origin.lock:
                self._origin.connection.send(("wait", self.pid))
                self.returncode = self._origin.connection.recv()
        return self.returncode


@pytest.fixture(scope="session", autouse=True)
def _forked_vllm() -> Iterator[None]:
    origin = Origin()

    def start(command: list[str], **given: Any) -> Any:
        return Forked(origin, command, **given) if MODULE in command else subprocess.Popen(command, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": start}))
        yield
    origin.end()


def serve(connection: Connection) -> None:
    """Fork as often as asked, and say how a child has ended; until the tests have ended."""
    import vllm.distributed.weight_transfer
    import vllm.model_executor.model_loader
    import vllm.v1.engine.llm_engine
    import vllm.v1.executor.multiproc_executor
    from vllm import LLMEngine, SamplingParams  # noqa: F401
    from vllm.platforms import current_platform

    import adamms.engines.prompt
    import adamms.engines.vllm.configuration
    import adamms.engines.vllm.worker  # noqa: F401

    if current_platform.is_cpu():
        import vllm.v1.worker.cpu_worker  # noqa: F401

    connection.send("ready")
    while True:
        try:
            what, given = connection.recv()
        except EOFError:
            return
        if what == "wait":
            connection.send(os.waitstatus_to_exitcode(os.waitpid(given, 0)[1]))
            continue
        theirs, log = recv_handle(connection), recv_handle(connection)
        pid = os.fork()
        if pid == 0:
            connection.close()
            run(theirs, log, given)
        os.close(theirs)
        os.close(log)
        connection.send(pid)


def run(connection: int, log: int, environment: dict[str, str]) -> None:
    """In the child: become what `python -m` would have become."""
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform
    from vllm.v1.executor import multiproc_executor

    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    sys.argv = [MODULE, str(connection), str(os.getppid())]
    # vLLM's own names: were they others, all would be as before, and slow.
    assert hasattr(registry, "_run_in_subprocess")
    assert hasattr(multiproc_executor, "get_mp_context")
    registry._run_in_subprocess = lambda look: look()  # which would import vLLM again
    if WORKERS in environment and current_platform.is_cpu():
        multiproc_executor.get_mp_context = lambda: get_context("fork")
    status = 1
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
