"""How far a stage is: counted from any thread, and told as a bar or, off a terminal, as plain lines.

Knows nothing of what is counted.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adamms.report import words
from adamms.report.result import StageTiming


class Meter:
    """Counts what a stage has done. `advance` may be called from several threads.

    Args:
        title: of the stage.
        total: how many units there are, or None when that is not known.
        unit: plural, e.g. "answers"; "bytes" is shown with a prefix; "" shows no count.
        clock: seconds, increasing.
    """

    def __init__(
        self, title: str, total: int | None, unit: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self._clock = clock
        self._start = clock()
        self._count = 0
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        """Add `count` units that are done."""
        with self._lock:
            self._count += count

    @property
    def timing(self) -> StageTiming:
        """The time and the count so far."""
        return StageTiming(self.title, self._clock() - self._start, self._count, self.unit)

    def progress(self) -> str:
        """`search: 340 of 1100 answers, 3.8 s (89/s), 8.5 s to go`."""
        now, done = self.timing, self._done()
        line = f"{self.title}: {f'{done}, ' if done else ''}{words.seconds(now.seconds)}"
        rate = words.rate(now.count, self.unit, now.seconds) if self.unit else ""
        line += f" ({rate})" if rate else ""
        if self.total is None or now.count <= 0:
            return line
        left = max(0.0, now.seconds * (self.total - now.count) / now.count)
        return f"{line}, {words.seconds(left)} to go"

    def final(self, failed: bool = False) -> str:
        """`search: 1100 answers in 12.3 s (89/s)`."""
        now, done = self.timing, self._done()
        took = words.seconds(now.seconds)
        if failed:
            return f"{self.title}: stopped{f' after {done}' if done else ''} in {took}"
        if not self.unit:
            return f"{self.title}: {took}"
        rate = words.rate(now.count, self.unit, now.seconds) if now.seconds >= 0.05 else ""
        count = words.quantity(now.count, self.unit)
        return f"{self.title}: {count} in {took}{f' ({rate})' if rate else ''}"

    def _done(self) -> str:
        """`340 of 1100 answers`, `1.6 of 4.8 GB`, or without a total `340 answers`."""
        if not self.unit:
            return ""
        if self.total is None:
            return words.quantity(self._count, self.unit)
        part = words.quantity(self._count, self.unit, among=self.total).split()[0]
        return f"{part} of {words.quantity(self.total, self.unit)}"


@contextmanager
def heartbeat(
    meter: Meter,
    say: Callable[[str], None],
    patience: float = 2.0,
    interval: float = 10.0,
    slower: bool = True,
) -> Iterator[None]:
    """Say where the meter is while the body runs.

    Args:
        meter: what to report.
        say: prints a line; called from a thread of its own.
        patience: seconds before the first line.
        interval: seconds, at least, between lines.
        slower: of long stages less often, every tenth of their time.
    """
    over = threading.Event()

    def speak() -> None:
        wait = patience
        while not over.wait(wait):
            say(meter.progress())
            wait = max(interval, meter.timing.seconds / 10 * slower)

    thread = threading.Thread(target=speak, name=f"progress of {meter.title}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def bar(meter: Meter, console: Console) -> Live:
    """A live bar on a terminal, gone when it ends; start it as a context manager."""

    def drawn() -> Table:
        grid = Table.grid(padding=(0, 1))
        done = ProgressBar(meter.total, meter.timing.count, width=16, pulse=meter.total is None)
        grid.add_row(done, Text(meter.progress(), no_wrap=True, overflow="ellipsis"))
        return grid

    return Live(get_renderable=drawn, console=console, transient=True)


@contextmanager
def notebook_bar(meter: Meter) -> Iterator[None]:
    """A live bar in a notebook, gone when it ends; none for a stage that is over at once."""
    from IPython.display import display

    shown: list[Any] = []  # the handle of what is displayed, once there is something

    def draw(line: str) -> None:
        done = "" if meter.total is None else f' value="{meter.timing.count}" max="{meter.total}"'
        drawn = {"text/plain": line, "text/html": f"<progress{done}></progress> {escape(line)}"}
        if shown:
            shown[0].update(drawn, raw=True)
        else:
            shown.append(display(drawn, raw=True, display_id=True))

    try:
        with heartbeat(meter, draw, 0.5, 0.2, slower=False):
            yield
    finally:
        for handle in shown:
            handle.update({"text/plain": "", "text/html": ""}, raw=True)
