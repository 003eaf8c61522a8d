"""Scores that logs have themselves. Looked at after a search among logs, which never sees them.

Owns which metric is a task's score, and the scores that others have published of the same models.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import PositiveFloat

from adamms.engines.logs.folder import OLD_RESULTS, SAMPLES, task_of
from adamms.errors import AdammsError, nearest, no_such_path
from adamms.evaluate.evaluation import PERCENT, Scores
from adamms.evaluate.foreign.results import Metric, ToolResults
from adamms.evaluate.lmms.results import RESULTS, read_results
from adamms.evaluate.lmms.right import of_pairs

LOGGED = "lmms-eval's score"  # the measure
CLOSE = 1e-3  # points that a mean of the samples may be away from what lmms-eval says, which it may round


@dataclass(frozen=True, kw_only=True)
class LoggedScores:
    """Which of lmms-eval's metrics are the scores of tasks. Values: conf/evaluate/logged.yaml.

        logged = LoggedScores(metrics={"seedbench": ["seed_image"]}, best={}, published=None)
        logged.scores({"seedbench": Path("0.1/1_samples_seedbench.jsonl")}).tasks  # {"seedbench": 76.2}

    Args:
        metrics: task -> the metrics that its score is the sum of; a task that is not named has only one.
        best: task -> what a perfect model has; of a task that is not named 1.
        published: a CSV with a line per model and a column per task; None for nothing to compare with.
    """

    metrics: Mapping[str, Sequence[str]]
    best: Mapping[str, PositiveFloat]
    published: Path | None

    def scores(self, logs: Mapping[str, Path]) -> Scores:
        """The scores in the results beside some logs of one model.

        Their points are those of the samples, where the score is the mean of them.

        Args:
            logs: task -> the log with its samples.

        Raises:
            AdammsError: no results beside a log, or not the metrics that are the task's score.
        """
        files = {task: _results_of(log) for task, log in logs.items()}
        read = {file: read_results(file, file.parent, "") for file in dict.fromkeys(files.values())}
        tasks, points = dict[str, float](), dict[str, Mapping[str, float]]()
        for task, log in logs.items():
            tasks[task], own = self._score(task, task_of(log), files[task], read[files[task]])
            if own:
                points[task] = own
        return Scores(tasks, points)

    def published_scores(self, folders: Sequence[Path] = ()) -> dict[str, dict[str, float]]:
        """Model -> task -> its published score; nothing where there is no file.

        Args:
            folders: where it may lie, too, as beside the YAML that names it.

        Raises:
            AdammsError: no such file, one that cannot be read, or a value in it that is no number.
        """
        if self.published is None:
            return {}
        places = [self.published, *(folder / self.published for folder in folders)]
        file = next((place for place in places if place.exists()), None)
        if file is None:
            raise AdammsError(f"evaluate.logged.published: {no_such_path(places[-1])}")
        found: dict[str, dict[str, float]] = {}
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                reader = csv.DictReader(lines)
                for row in reader:
                    model = row.pop("model")
                    found[model] = {task: float(value) for task, value in row.items() if value}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AdammsError(
                f"evaluate.logged.published: {file}: not a table of scores ({error}); expected CSV "
                f"with the columns model and one for each task"
            ) from error
        return found

    def _score(
        self, task: str, name: str, file: Path, found: ToolResults
    ) -> tuple[float, Mapping[str, float]]:
        """A task's score in percent, and its points by sample if it is their mean.

        Args:
            name: lmms-eval's, of the task.
        """
        metrics = [metric for metric in found.metrics if metric.task == name]
        chosen = self._chosen(task, metrics, file)
        value = PERCENT * sum(metric.value for metric in chosen) / self.best.get(task, 1)
        names = [metric.name for metric in chosen]
        samples = [sample for sample in found.samples if sample.task == name]
        scored = [sample for sample in samples if sample.scores.keys() & set(names)]
        pairs = [sample.logged[own] for sample in samples for own in names if own in sample.logged]
        ways = [{str(s.number): sum(s.scores.get(own, 0) for own in names) for s in scored}]
        ways += [of_pairs(pairs)] if len(pairs) == len(scored) else []
        means = (own for own in ways if own and abs(PERCENT * sum(own.values()) / len(own) - value) < CLOSE)
        return value, next(means, {})

    def _chosen(self, task: str, metrics: Sequence[Metric], file: Path) -> list[Metric]:
        """The metrics that make a task's score."""
        known = list(dict.fromkeys(metric.name for metric in metrics))
        wanted = self.metrics.get(task, known)
        there = f"{file} has {', '.join(known) or 'none'} of {task}"
        for name in wanted:
            if name not in known:
                raise AdammsError(
                    f"evaluate.logged.metrics.{task} has {name}, but {there}.{nearest(name, known)}"
                )
        chosen = [metric for metric in metrics if metric.name in wanted]
        if not chosen or len(chosen) > len(wanted) or (task not in self.metrics and len(chosen) > 1):
            raise AdammsError(
                f"{there}; expected one metric, or the names of those that make the score: "
                f"'evaluate.logged.metrics={{{task}: [{known[0] if known else 'METRIC'}]}}'"
            )
        return chosen


def _results_of(log: Path) -> Path:
    """Where lmms-eval has written the metrics of a log's run."""
    new = log.with_name(f"{log.name.partition(SAMPLES)[0]}{RESULTS}")
    file = new if SAMPLES in log.name else log.with_name(OLD_RESULTS)
    if not file.is_file():
        raise AdammsError(
            f"{log}: no {file.name} beside it, which has its scores; evaluate=none does without"
        )
    return file
