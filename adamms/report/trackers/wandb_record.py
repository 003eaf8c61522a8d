"""What one run tells Weights & Biases: rows while it works, and all that it found in the end.

The numbers are in `metrics`, the tables and artifacts in `wandb_files`.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from adamms.errors import AdammsError
from adamms.report import quantity
from adamms.report.files import REPORT
from adamms.report.result import Result, StageTiming
from adamms.report.trackers import metrics, wandb_files

CURVES = "curves_digest"
SECONDS = 10.0  # at least, between two rows that say how far a stage is
Point = tuple[tuple[str, float], ...]  # name of an axis -> place on it


@dataclass
class WandbRecord:
    """The `Record` of a run in W&B.

    Args:
        wandb: the package.
        run: its run.
        settings: the whole configuration, resolved.
        folder: of wandb's own files; of the results, too, where the settings do not say.
        image_size: longest side of the images in the table of answers, in pixels.
        checksum: read the merged model's files once more.
        say: prints a line, which run.log keeps, too.
        drawn: what the run's history has of the curves.
        asked: how far the answers of the latest stage are, if no row has said so.
        told: when a row last said so.
        lost: whether W&B has failed; it is told nothing more.
    """

    wandb: ModuleType
    run: Any
    settings: Mapping[str, Any]
    folder: Path
    image_size: int
    checksum: bool
    say: Callable[[str], None]
    drawn: dict[tuple[Point, str], float] = field(default_factory=dict)
    asked: StageTiming | None = None
    told: float = field(default_factory=time.monotonic)
    lost: bool = False

    def __post_init__(self) -> None:
        self._lock, self._telling = threading.Lock(), threading.Lock()
        # A run that is resumed after its end has all curves already.
        self._complete = self.run.summary.get(CURVES)
        self._signal = quantity.in_words(self.settings.get("search") or {})

    def progress(self, stage: StageTiming) -> None:
        """A row every few seconds, of stages that ask for answers or for scores of texts."""
        if stage.unit not in ("answers", "texts"):
            return
        now = time.monotonic()
        with self._lock:
            self.asked = stage
            if now - self.told < SECONDS:
                return
            self.told, self.asked = now, None
        self._tell(lambda: self.run.log(metrics.progress(stage)))

    def so_far(self, known: Callable[[], Result], part: bool = False) -> None:
        """Rows of the candidates of which something is known now that was not before."""
        if self._complete is not None:
            return
        try:
            curves = metrics.curves(known(), self._signal, part)
        except (AdammsError, ArithmeticError, LookupError, ValueError) as error:
            self.say(f"warning: W&B: no D before the end: {type(error).__name__} {error}")
        else:
            self._tell(lambda: self._draw(curves))
        with self._lock:
            asked, self.asked = self.asked, None
        if asked is not None:
            self._tell(lambda: self.run.log(metrics.progress(asked)))

    def __call__(self, result: Result) -> None:
        """Everything. The output folder has it, too."""
        self._tell(lambda: self._log(result))

    def _tell(self, told: Callable[[], object]) -> None:
        with self._telling:  # of a thread at a time: meanwhile the others wait
            if not self.lost:
                with tolerant(self.wandb, self.say):
                    self.lost = True
                    told()
                    self.lost = False

    def _log(self, result: Result) -> None:
        wandb, run, curves = self.wandb, self.run, metrics.curves(result, self._signal)
        if curves.rows and self._complete != curves.digest:
            self._draw(curves)
            run.summary[CURVES] = curves.digest
        if found := metrics.overall(result):
            run.log(found)
        run.summary.update(metrics.details(result) | metrics.doubts(result) | metrics.not_asked(result))
        if chart := wandb_files.chart(wandb, result, self._signal):
            run.log(chart)
        if result.answered:
            run.log({"answers": wandb_files.answers_table(wandb, result, self.image_size)})
        for key, tool in result.tools.items():
            run.log({f"{key}_samples": wandb_files.samples_table(wandb, tool)})
        output = Path(str(self.settings.get("output", self.folder)))
        if (output / REPORT).is_file():
            run.log({"report": wandb.Html(output / REPORT, inject=False)})
        inputs = wandb_files.checkpoints(wandb, self.settings)
        if not run.offline:  # wandb refuses it offline; there the other artifacts' metadata names them
            for artifact in inputs:
                run.use_artifact(artifact)
        for artifact in wandb_files.run_artifacts(wandb, run.id, output, inputs):
            run.log_artifact(artifact)
        if result.folder is not None and result.folder.is_dir():
            run.log_artifact(wandb_files.model_artifact(wandb, run.id, result, inputs, self.checksum))

    def _draw(self, curves: metrics.Curves) -> None:
        """A row of history per candidate, with what the history does not have already."""
        axes = set(curves.steps.values())
        for section, step in curves.steps.items():
            self.run.define_metric(step, hidden=True, summary="none")
            self.run.define_metric(f"{section}/*", step_metric=step, step_sync=False, summary="none")
        for row in curves.rows:
            place = tuple((name, value) for name, value in row.items() if name in axes)
            new = {
                name: value
                for name, value in row.items()
                if name not in axes and self.drawn.get((place, name)) != value
            }
            if new:
                self.drawn |= {(place, name): value for name, value in new.items()}
                self.run.log(dict(place) | new)


@contextmanager
def tolerant(wandb: ModuleType, say: Callable[[str], None]) -> Iterator[None]:
    """Warn, and go on without W&B, where wandb or its service fails under a run that does not need them.

    SLURM's signal before a requeue ends the service at once, while the job may still work for a while: it
    must not be taken for a failed one.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] != "wandb":
            raise
        say(f"warning: W&B: {type(error).__name__} {error}; the run goes on without it")
        # The next run of this process then has a service of its own; ending a broken one may fail, too.
        with suppress(OSError, SystemExit):
            wandb.teardown()
