"""The process that tests fork engines' processes from outlives every way to ask how they ended."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from forked_children import TEMPLATE, Forked

from adamms.engines.child import ChildProcess


def started() -> tuple[ChildProcess, Forked]:
    child = ChildProcess("the chat template", TEMPLATE, {})
    forked = child._process
    assert isinstance(forked, Forked)
    return child, forked


def renders(child: ChildProcess) -> bool:
    child.send(("{{ 1 + 1 }}", {}))
    return bool(child.receive(20, "rendering") == "2")


def test_a_child_that_does_not_end_is_not_waited_for_longer() -> None:
    child, forked = started()
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(0.05)
    assert renders(child)
    child.stop(grace=0)
    assert forked.poll() == -signal.SIGKILL


def test_a_finalizer_may_stop_one_while_its_thread_asks() -> None:
    child, forked = started()
    with forked._origin.lock, forked._origin.asking():
        child.stop(grace=0)
    assert forked.poll() == -signal.SIGKILL
    after, _ = started()
    assert renders(after)
    after.stop(grace=0)


def test_two_threads_may_ask_how_one_ended() -> None:
    child, forked = started()
    with ThreadPoolExecutor() as threads:
        with forked._origin.lock:
            other = threads.submit(forked.poll)
            child.stop(grace=0)
        assert other.result(20) == -signal.SIGKILL
    after, _ = started()
    assert renders(after)
    after.stop(grace=0)


def test_nothing_is_left_for_a_fork_to_import() -> None:
    code = """
import sys
from forked_children import import_jinja
import_jinja()
before = {*sys.modules}
import adamms.engines.template_process
print(*sorted(name for name in {*sys.modules} - before if name.startswith("jinja2")), "jinja2" in before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split() == ["True"], done.stderr
