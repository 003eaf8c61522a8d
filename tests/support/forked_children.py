"""The processes that engines start, forked from one of this session that has imported what they need.

Importing vLLM takes ten seconds, what renders chat templates a tenth, which every search pays four times. For
tests that start engines in their own process. Programs that tests start do without. A fork is what `python -m
MODULE` would be, but imports have read the environment in which the session began, and vLLM looks at a
model's class in the process itself. Workers of several devices are new processes, as vLLM has it on CPUs;
with $FORKED_WORKERS they are forks, too.
"""

import math
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle
from threading import RLock
from types import SimpleNamespace
from typing import Any

import pytest

from adamms.engines import child
from adamms.engines.vllm.client import ENVIRONMENT

VLLM, TEMPLATE = "adamms.engines.vllm.process", "adamms.engines.template_process"
ADAPTED = "vllm_with_adapter"  # of the tests, which needs what VLLM does
WORKERS = "FORKED_WORKERS"


class Origin:
    """The process that has imported what a module needs; it starts when first asked for.

    One thread at a time asks. A finalizer may run while its thread does, and must not then ask.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.module = module
        self.environment = os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.lock = RLock()
        self.asked = self.ended = False

    @cached_property
    def connection(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, self.module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self.environment,
            )
        assert ours.recv() == "ready"
        return ours

    @contextmanager
    def asking(self) -> Iterator[Connection]:
        self.asked = True
        try:
            yield self.connection
        finally:
            self.asked = False

    def end(self) -> None:
        with self.lock:
            if "connection" in self.__dict__:
                self.connection.close()
                self.process.wait()
            self.ended = True


class Forked:
    """What `ChildProcess` knows of a `Popen`."""

    def __init__(self, origin: Origin, module: str, **given: Any) -> None:
        self._origin = origin
        with origin.lock, origin.asking() as connection:
            connection.send((module, given["env"]))
            for descriptor in (given["pass_fds"][0], given["stdout"].fileno()):
                send_handle(connection, descriptor, origin.process.pid)
            self.pid: int = connection.recv()
        self.returncode: int | None = None

    def wait(self, timeout: float = math.inf) -> int:
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self._origin.module, timeout)
            time.sleep(0.002)
        return status

    def poll(self) -> int | None:
        with self._origin.lock:
            if self.returncode is not None:  # the origin knows it no more
                return self.returncode
            # The origin has ended, and all that it forked; or a finalizer waits, which has killed this one.
            if self._origin.ended or self._origin.asked:
                self.returncode = -signal.SIGKILL
            else:
                with self._origin.asking() as connection:
                    connection.send(self.pid)
                    self.returncode = connection.recv()
            return self.returncode


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[None]:
    vllm, template = Origin(VLLM, ENVIRONMENT), Origin(TEMPLATE, {"MALLOC_ARENA_MAX": "1"})
    origins = {VLLM: vllm, ADAPTED: vllm, TEMPLATE: template}

    def start(command: list[str], **given: Any) -> Any:
        module = next((name for name in origins if name in command), None)
        return Forked(origins[module], module, **given) if module else subprocess.Popen(command, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": start}))
        yield
    for origin in (vllm, template):
        origin.end()


def import_vllm() -> None:
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


def fork_workers(environment: Mapping[str, str]) -> None:
    """In a child with vLLM in it: what it would start as new processes."""
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform
    from vllm.v1.executor import multiproc_executor

    # vLLM's own names: were they others, all would be as before, and slow.
    assert hasattr(registry, "_run_in_subprocess")
    assert hasattr(multiproc_executor, "get_mp_context")
    registry._run_in_subprocess = lambda look: look()  # which would import vLLM again
    if WORKERS in environment and current_platform.is_cpu():
        multiproc_executor.get_mp_context = lambda: get_context("fork")


def import_jinja() -> None:
    import jinja2.ext
    import jinja2.sandbox  # noqa: F401

    import adamms.engines.template  # noqa: F401


# Before the first fork, and in each child.
PREPARED: dict[str, tuple[Callable[[], None], Callable[[Mapping[str, str]], None]]] = {
    VLLM: (import_vllm, fork_workers),
    TEMPLATE: (import_jinja, lambda environment: None),
}


def serve(origin: str, connection: Connection) -> None:
    """Fork as often as asked, and say how a child has ended; until the tests have ended."""
    prepare, prepare_child = PREPARED[origin]
    prepare()
    connection.send("ready")
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        if isinstance(asked, int):
            pid, status = os.waitpid(asked, os.WNOHANG)
            connection.send(os.waitstatus_to_exitcode(status) if pid else None)
            continue
        theirs, log = recv_handle(connection), recv_handle(connection)
        begun, begins = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection.close()
            os.setsid()
            os.close(begun)
            os.close(begins)
            module, environment = asked
            run(module, theirs, log, environment, prepare_child)
        os.close(begins)
        os.read(begun, 1)  # which ends when the child leads its session, and can be killed with it
        for descriptor in (begun, theirs, log):
            os.close(descriptor)
        connection.send(pid)


def run(
    module: str,
    connection: int,
    log: int,
    environment: dict[str, str],
    prepare: Callable[[Mapping[str, str]], None],
) -> None:
    """In the child: become what `python -m` would have become."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        sys.argv = [module, str(connection), str(os.getppid())]
        prepare(environment)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else 1
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], Connection(int(sys.argv[2])))
