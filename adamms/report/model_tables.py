"""The tables of one model's evaluation, whatever it was merged from: our own scores, lmms-eval's metrics."""

from adamms.report import words
from adamms.report.result import RunResult
from adamms.report.tables import Cell, Table


def own_scores(result: RunResult) -> Table | None:
    """Per task, of a model that was evaluated by itself."""
    if result.scores is None:
        return None
    rows = [(Cell(task), Cell(words.score(value))) for task, value in result.scores.tasks.items()]
    rows.append((Cell("mean"), Cell(words.score(result.scores.mean))))
    return Table(f"Scores ({result.unit})", ("task", "score"), tuple(rows), strong=frozenset({len(rows) - 1}))


def lmms_eval(result: RunResult) -> Table | None:
    """lmms-eval's metrics as it gives them."""
    found = result.lmms_eval
    if found is None:
        return None
    rows = [
        (
            Cell(metric.task),
            Cell(metric.name if metric.filter == "none" else f"{metric.name}, {metric.filter}"),
            Cell(words.metric(metric.value)),
            Cell(words.metric(metric.stderr)),
            Cell("-" if metric.samples is None else str(metric.samples)),
        )
        for metric in found.metrics
    ]
    columns = ("task", "metric", "value", "stderr", "n")
    note = f"its own units; samples and log: {found.folder}"
    return Table(f"lmms-eval {found.version}, {found.model}", columns, tuple(rows), texts=2, note=note)
