"""A Python module that runs in a process of its own and ends with its owner.

Owns the process, its session, its log and the pipe to it. Knows nothing of what it computes.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import adamms
from adamms.errors import AdammsError

# How long a child that was asked to leave may take before it is killed.
GRACE_SECONDS = 10.0
# How often a child looks whether its parent is still there.
WATCH_SECONDS = 0.5
# How much of the log an error shows: its last lines, and the errors named in the last of its bytes.
LOG_LINES, LOG_ERRORS, LOG_BYTES = 12, 3, 1 << 18
# How the last line of a traceback ends, whatever a logger has put before it.
ERROR_LINE = re.compile(r"(?:^|[\s\]])((?:\w+\.)*[A-Z]\w*(?:Error|Exception)(?::\s.+)?)$")


class ChildProcess:
    """`python -m module` in a session of its own, with a pipe for picklable messages.

    The child calls `parent_connection` first. It ends with `stop`, or by itself when this process ends,
    however that happens. All processes that it has started end with it.

    Args:
        name: what it is, for messages.
        module: name of the module to run.
        environment: variables in addition to this process's own.
        verbose: whether what it writes appears on standard error, too.
    """

    def __init__(self, name: str, module: str, environment: Mapping[str, str], verbose: bool = False) -> None:
        self.name = name
        self._connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
        path = [str(Path(adamms.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path)},
            )
        if verbose:
            threading.Thread(target=self._echo, args=(os.dup(self._log.fileno()),), daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the child, and of its session and process group."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Hand over a message.

        Raises:
            AdammsError: the child has ended; with the cause.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise AdammsError(self._obituary("between requests")) from error

    def receive(self, seconds: float, doing: str) -> Any:
        """The next message from the child.

        Args:
            seconds: how long to wait for it.
            doing: what the child does meanwhile, for messages.

        Raises:
            AdammsError: the child has ended, with the cause, or the time is over.
        """
        try:
            if self._connection.poll(seconds):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            raise AdammsError(self._obituary(f"while {doing}")) from error
        raise AdammsError(f"{self.name}: nothing came for {seconds:g} s while {doing}{self.log_tail()}")

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """End the child and everything that it has started; the second time does nothing.

        Args:
            grace: seconds in which it may leave by itself; 0 kills at once.
        """
        if self._log.closed:
            return
        if grace:
            with suppress(EOFError, OSError):
                self._connection.send(None)  # nothing more comes; now wait until it closes its end
                end = time.monotonic() + grace
                while self._connection.poll(max(0.0, end - time.monotonic())):
                    self._connection.recv()
        # Workers may outlive the leader. While one of the group lives, its number is no one else's.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._log.close()

    def log_tail(self) -> str:
        """What the child wrote last, to be appended to an error; "" if there is nothing.

        The errors in its log come first: if a worker of the child failed, the cause stands well before the
        end.
        """
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        errors = dict.fromkeys(match[1] for line in lines if (match := ERROR_LINE.search(line)))
        parts = [("; errors in its log:", [*errors][:LOG_ERRORS]), ("; its last words:", lines[-LOG_LINES:])]
        return "".join(
            line for title, shown in parts if shown for line in (title, *(f"\n    {text}" for text in shown))
        )

    def _echo(self, log: int) -> None:
        """Copy the log to standard error until the child has ended."""
        place, ended = 0, False
        while not ended:
            ended = self._process.poll() is not None
            while text := os.pread(log, LOG_BYTES, place):  # does not move where the child writes
                place += len(text)
                sys.stderr.write(text.decode(errors="replace"))
            sys.stderr.flush()
            time.sleep(WATCH_SECONDS)
        os.close(log)

    def _obituary(self, when: str) -> str:
        """How the child died. It has closed its end of the pipe, so it is dead or about to be."""
        try:
            status = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return f"{self.name} hung up {when}{self.log_tail()}"
        if status == -signal.SIGKILL:
            how = "was killed (SIGKILL), as the system does when memory runs out,"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        return f"{self.name}: its process {how} {when}{self.log_tail()}"


def parent_connection() -> Connection:
    """In the child: the pipe to the parent. When the parent ends, so does the child's whole session."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return Connection(descriptor)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.killpg(0, signal.SIGKILL)
