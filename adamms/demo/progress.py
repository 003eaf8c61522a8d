"""A progress bar per training stage with throughput and loss. It knows nothing of what is trained."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class ThroughputColumn(ProgressColumn):
    """Optimiser steps per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} steps/s")


class TrainingProgress:
    """Context manager; `advance(stage, step, steps, loss)` moves the bar of a stage.

    Args:
        console: standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            ThroughputColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console or Console(stderr=True),
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> "TrainingProgress":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Show that `step` of `steps` of a stage is done."""
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=steps, loss=loss)
        self._progress.update(self._bars[stage], completed=step, loss=loss)
