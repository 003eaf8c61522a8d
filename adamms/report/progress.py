"""Progress of one stage: counted from any thread, shown as a bar or, off a terminal, as plain lines.

Knows nothing of what is counted.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
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
    def count(self) -> int:
        return self._count

    @property
    def elapsed(self) -> float:
        return self._clock() - self._start

    def timing(self) -> StageTiming:
        return StageTiming(self.title, self.elapsed, self.count, self.unit)

    def done(self) -> str:
        """`340 of 1100 answers`, `1.6 of 4.8 GB`, or without a total `340 answers`."""
        if not self.unit:
            return ""
        if self.total is None:
            return words.quantity(self.count, self.unit)
        whole = words.quantity(self.total, self.unit)
        part = words.quantity(self.count, self.unit, among=self.total) if self.unit == "bytes" else self.count
        return f"{str(part).split()[0]} of {whole}"

    def rate(self) -> str:
        """Throughput since the start."""
        return words.rate(self.count, self.unit, self.elapsed) if self.unit else ""

    def remaining(self) -> float | None:
        """Seconds to go at the rate so far; None when that cannot be told."""
        count = self.count
        if self.total is None or count <= 0:
            return None
        return max(0.0, self.elapsed * (self.total - count) / count)

    def progress(self) -> str:
        """`search: 340 of 1100 answers, 3.8 s (89/s), 8.5 s to go`."""
        parts = [word for word in (self.done(), words.seconds(self.elapsed)) if word]
        line = f"{self.title}: {', '.join(parts)}"
        line += f" ({self.rate()})" if self.rate() else ""
        left = self.remaining()
        return line if left is None else f"{line}, {words.seconds(left)} to go"

    def final(self, failed: bool = False) -> str:
        """`search: 1100 answers in 12.3 s (89/s)`."""
        took = words.seconds(self.elapsed)
        if failed:
            done = f" after {self.done()}" if self.done() else ""
            return f"{self.title}: stopped{done} in {took}"
        if not self.unit:
            return f"{self.title}: {took}"
        rate = f" ({self.rate()})" if self.rate() and self.elapsed >= 0.05 else ""
        return f"{self.title}: {words.quantity(self.count, self.unit)} in {took}{rate}"


class Heartbeat:
    """Context manager that says where the meter is: first after `patience`, then every `interval`.

    Long stages are reported less often, once per tenth of their time so far.

    Args:
        meter: what to report.
        say: prints a line; called from a thread of its own.
        patience: seconds before the first line.
        interval: seconds, at least, between lines.
    """

    def __init__(
        self, meter: Meter, say: Callable[[str], None], patience: float = 2.0, interval: float = 10.0
    ) -> None:
        self._meter = meter
        self._say = say
        self._patience = patience
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"progress of {meter.title}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        wait = self._patience
        while not self._over.wait(wait):
            self._say(self._meter.progress())
            wait = max(self._interval, self._meter.elapsed / 10)


class _MeterColumn(ProgressColumn):
    """Count, throughput, elapsed time and time to go, read from the meter at every refresh."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: Task) -> Text:
        meter = self._meter
        left = meter.remaining()
        parts = (
            meter.done().replace(" of ", "/"),
            meter.rate(),
            words.seconds(meter.elapsed),
            "" if left is None else f"ETA {words.seconds(left)}",
        )
        return Text("  ".join(word for word in parts if word), no_wrap=True)


class _MeteredBar(BarColumn):
    """A bar as full as the meter."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(bar_width=16)
        self._meter = meter

    def render(self, task: Task):  # type: ignore[no-untyped-def]  # rich's own type is a private one
        task.completed = self._meter.count
        return super().render(task)


def bar(meter: Meter, console: Console) -> Progress:
    """A live bar on a terminal, gone when it ends; start it as a context manager."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        _MeteredBar(meter),
        _MeterColumn(meter),
        console=console,
        transient=True,
    )
    progress.add_task(meter.title, total=meter.total)
    return progress
