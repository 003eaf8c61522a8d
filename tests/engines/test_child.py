"""A child process is there when needed, says why it died, and never outlives its owner."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import alive, wait_until

from adamms.engines.child import ChildProcess
from adamms.errors import AdammsError

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildProcess]:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    child = ChildProcess("the echo", "child_echo", {})
    yield child
    child.stop(grace=0)


def ask(child: ChildProcess, message: object, seconds: float = 30) -> object:
    child.send(message)
    return child.receive(seconds, "echoing")


def test_messages_go_there_and_back(echo: ChildProcess) -> None:
    assert ask(echo, {"a": [1, 2]}) == {"a": [1, 2]}
    assert ask(echo, "pid") == echo.pid != os.getpid()


@pytest.mark.parametrize("grace", [10.0, 0.0])
def test_stop_ends_it_and_what_it_has_started(echo: ChildProcess, grace: float) -> None:
    other = ask(echo, "spawn")
    assert isinstance(other, int)
    assert alive(other)
    echo.stop(grace)
    echo.stop(grace)
    assert not alive(echo.pid)
    assert wait_until(lambda: not alive(other))


def test_stop_does_not_wait_for_ever(echo: ChildProcess) -> None:
    ask(echo, "x")
    echo.send("sleep")
    start = time.monotonic()
    echo.stop(grace=0.3)
    assert time.monotonic() - start < 5
    assert not alive(echo.pid)


def test_an_early_end_is_told_with_its_status_and_last_words(echo: ChildProcess) -> None:
    with pytest.raises(
        AdammsError, match=r"(?s)the echo: its process ended with status 3 while echoing.*go on"
    ):
        ask(echo, "exit")
    with pytest.raises(AdammsError, match="ended with status 3 between requests"):
        echo.send("more")


def test_a_cause_well_before_the_end_is_told_first(echo: ChildProcess) -> None:
    echo.send("worker fails")
    with pytest.raises(AdammsError) as raised:
        echo.receive(30, "working")
    message = str(raised.value)
    errors, last = message.split("; its last words:")
    assert errors.endswith(
        "; errors in its log:\n    AssertionError: 3 is not divisible by 2\n    RuntimeError: see above"
    )
    assert last.splitlines()[1:] == ["    a line of a traceback"] * 11 + ["    RuntimeError: see above"]


def test_a_kill_is_told_as_what_the_system_does_without_memory(echo: ChildProcess) -> None:
    ask(echo, "x")
    echo.send("sleep")
    os.kill(echo.pid, signal.SIGKILL)
    with pytest.raises(AdammsError, match=r"killed \(SIGKILL\), as the system does when memory runs out"):
        echo.receive(30, "echoing")


def test_a_silent_child_is_given_up(echo: ChildProcess) -> None:
    ask(echo, "x")
    echo.send("sleep")
    with pytest.raises(AdammsError, match=r"the echo: nothing came for 0\.1 s while echoing"):
        echo.receive(0.1, "echoing")


def test_a_killed_owner_takes_all_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner is SIGKILLed, so nothing of it can clean up; a fork of it that holds its files lives on."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *sys.path]))
    owner = (
        "from adamms.engines.child import ChildProcess\nimport os, time\n"
        "child = ChildProcess('echo', 'child_echo', {})\n"
        "child.send('spawn')\n"
        "other = child.receive(30, 'x')\n"
        "fork = os.fork()\n"
        "if fork: print(child.pid, other, fork, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child, other, fork = (int(word) for word in process.stdout.readline().split())
        try:
            assert alive(child)
            assert alive(other)
            process.kill()
            assert wait_until(lambda: not alive(child) and not alive(other))
        finally:
            os.kill(fork, signal.SIGKILL)


def test_a_verbose_one_is_heard_as_it_speaks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    heard = ""
    for verbose in (False, True):
        child = ChildProcess("the echo", "child_echo", {}, verbose)
        ask(child, "speak")

        def spoken() -> bool:
            nonlocal heard
            heard += capfd.readouterr().err
            return "something is said" in heard

        assert wait_until(spoken, seconds=20 if verbose else 1) == verbose
        child.stop(grace=0)
