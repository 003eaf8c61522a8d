"""What a run has measured of a model, by one measure.

Scores of different scorers or metrics are never compared, nor those of other tasks.
"""

import filecmp
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path

from adamms.errors import AdammsError
from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import PERCENT, Scores
from adamms.evaluate.foreign.results import LMMS_EVAL, VLMEVALKIT, Metric, ToolResults
from adamms.evaluate.lmms.results import RESULTS, read_results
from adamms.evaluate.vlmevalkit.results import STATUS
from adamms.evaluate.vlmevalkit.results import read_results as read_status
from adamms.report.compare.run_folders import FoundRun
from adamms.report.result import Result

Asked = Mapping[str, tuple[str, tuple[Path, ...]]]  # example id -> question with what is right, pictures
READERS = {LMMS_EVAL: (f"*{RESULTS}", read_results), VLMEVALKIT: (STATUS, read_status)}
CLOSE = 1e-6  # that a mean of rounded numbers may be away from what lmms-eval says


@dataclass(frozen=True)
class Measured:
    """Scores of one model by one measure.

    Args:
        measure: e.g. "accuracy".
        how: the scorer's settings, or "" of a metric.
        scores: per task; in percent where `percent`, else in the metric's own unit.
        asked: what the examples were.
        errors: task -> standard error, where lmms-eval says it and no scores of single examples do.
        less_is_better: as of an error rate.
        percent: whether the scores are shares.
    """

    measure: str
    how: str
    scores: Scores
    asked: Asked = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    less_is_better: bool = False
    percent: bool = True

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """The same of scores that may be compared."""
        return self.measure, self.how, tuple(sorted(self.scores.tasks))

    @property
    def title(self) -> str:
        """The measure, for people."""
        return self.measure if self.percent else f"{self.measure}, its own unit"

    @property
    def examples(self) -> int:
        """How many it was measured on, where that is known."""
        return sum(map(len, self.scores.points.values()))

    def estimate(self, task: str | None = None) -> Estimate | None:
        """A score with its error, on a task or with None the mean over tasks."""
        found = self.scores.estimate(task)
        if found is None or found.error is not None:
            return found
        errors = [self.errors.get(each) for each in (self.scores.tasks if task is None else [task])]
        known = [error for error in errors if error is not None]
        whole = len(known) == len(errors)
        return replace(found, error=sqrt(sum(error**2 for error in known)) / len(errors) if whole else None)

    def less(self, other: "Measured", task: str | None = None) -> Estimate | None:
        """What it is above another one: with its interval where `incomparable` says nothing."""
        found = self.scores.estimate(task, less=other.scores)
        return replace(found, error=None, interval=None) if found and self.incomparable(other) else found

    def incomparable(self, other: "Measured") -> str:
        """Why nobody can say how exact the difference is; "" where it can be said."""
        for each in (self, other):
            if any(len(each.scores.points.get(task, ())) < 2 for task in each.scores.tasks):
                return "there are no scores of single examples"
        mine, theirs = (
            {(task, example) for task, points in each.scores.points.items() for example in points}
            for each in (self, other)
        )
        if mine != theirs:
            return f"other examples: of {len(mine)} and {len(theirs)} they share {len(mine & theirs)}"
        if something_else := self.asks_otherwise(other):
            return f"other examples: {something_else} of the same names ask something else"
        return ""

    def asks_otherwise(self, other: "Measured") -> int:
        """How many examples of the same names are other ones."""
        both = self.asked.keys() & other.asked.keys()
        return sum(not _same_example(self.asked[example], other.asked[example]) for example in both)

    def in_own_unit(self) -> "Measured":
        """As where there are no scores of single examples: in the metric's unit, not in percent."""
        if not self.percent:
            return self
        values = Scores({task: score / PERCENT for task, score in self.scores.tasks.items()})
        found = {task: self.scores.estimate(task) for task in self.scores.tasks}
        errors = {task: each.error / PERCENT for task, each in found.items() if each and each.error}
        return replace(self, scores=values, errors=errors, percent=False)


def _same_example(one: tuple[str, tuple[Path, ...]], other: tuple[str, tuple[Path, ...]]) -> bool:
    pictures = zip(one[1], other[1], strict=False)
    return (
        one[0] == other[0] and len(one[1]) == len(other[1]) and all(_same_picture(*pair) for pair in pictures)
    )


def _same_picture(one: Path, other: Path) -> bool:
    """By the files' content where both are there, else by their names."""
    if one == other or not (one.is_file() and other.is_file()):
        return one.name == other.name
    return filecmp.cmp(one, other, shallow=False)


def of_search(run: FoundRun) -> tuple[Measured, dict[str, Measured]] | None:
    """What a search has measured of its choice, and of the parents; None without labels."""
    result = run.found
    if not result.chosen.tasks:
        return None
    frame = _frame(run)
    return replace(frame, scores=result.chosen), {
        name: replace(frame, scores=scores) for name, scores in result.parents.items()
    }


def of_evaluation(run: FoundRun) -> list[Measured]:
    """What mode=evaluate or an evaluation tool has measured of one model."""
    result = run.found
    own = [] if result.scores is None else [replace(_frame(run), scores=result.scores)]
    return own + [found for tool in result.tools.values() for found in _by_tool(_with_samples(tool))]


def _frame(run: FoundRun) -> Measured:
    """By which measure a run scores answers, and what it asked."""
    scorer = (run.settings.get("evaluate") or {}).get("scorer") or {}
    return Measured(
        run.found.measure or "score", json.dumps(scorer, sort_keys=True), Scores({}), _asked(run.found)
    )


def _asked(result: Result) -> Asked:
    examples = ((one.example, one.label) for one in result.answered)
    return {each.id: (json.dumps([each.question, label]), each.files) for each, label in examples}


def _with_samples(found: ToolResults) -> ToolResults:
    """The results with their samples, which are in the tool's own files; without, if those are gone."""
    pattern, read = READERS.get(found.tool, ("", read_results))
    files = sorted(found.folder.rglob(pattern)) if pattern and not found.samples else []
    if not files:
        return found
    try:
        return replace(found, samples=read(files[-1], found.folder, found.version).samples)
    except AdammsError:
        return found


def _by_tool(found: ToolResults) -> list[Measured]:
    """A measure for every metric, over its tasks; without groups of tasks where the tasks are there."""
    metrics: dict[str, list[Metric]] = {}
    for metric in found.metrics:
        name = metric.name if metric.filter == "none" else f"{metric.name}, {metric.filter}"
        metrics.setdefault(f"{found.tool} {name}", []).append(metric)
    return [_metric(found, name, own) for name, own in metrics.items()]


def _metric(found: ToolResults, name: str, metrics: list[Metric]) -> Measured:
    """In percent if every sample's score is in [0, 1] and the metric is their mean; else in its own unit."""
    some = [metric for metric in metrics if metric.samples] or metrics
    points, asked = dict[str, dict[str, float]](), dict[str, tuple[str, tuple[Path, ...]]]()
    for metric in some:
        for sample in found.samples:
            if sample.task == metric.task and metric.name in sample.scores:
                id = f"{sample.task} {sample.number}"
                points.setdefault(metric.task, {})[id] = sample.scores[metric.name]
                asked[id] = json.dumps([sample.question, sample.target]), ()
    less = any(metric.higher_is_better is False for metric in some)
    if all(_is_mean(metric, points.get(metric.task, {})) for metric in some):
        return Measured(name, "", Scores.of(points), asked, less_is_better=less)
    errors = {metric.task: metric.stderr for metric in some if metric.stderr is not None}
    values = Scores({metric.task: metric.value for metric in some})
    return Measured(name, "", values, asked, errors, less, percent=False)


def _is_mean(metric: Metric, points: Mapping[str, float]) -> bool:
    shares = points and all(0 <= value <= 1 for value in points.values())
    return bool(shares) and abs(sum(points.values()) / len(points) - metric.value) < CLOSE * PERCENT
