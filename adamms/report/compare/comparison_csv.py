"""comparison.csv: a line per model, measure and task, for pandas and spreadsheets."""

import csv
import io
from collections.abc import Iterator

from adamms.report.compare.comparison import Comparison, Group, Row
from adamms.report.compare.run_folders import FoundRun
from adamms.report.trackers.metrics import plain

ALL = "all"  # the task of the mean over tasks
COLUMNS = (
    *("model", "measure", "task", "score", "error"),
    *("reference", "difference", "low", "high", "told_apart", "why_no_interval"),
    *(
        "method",
        "alpha",
        "probability",
        "seconds",
        "bytes",
        "fingerprint",
        "run",
        "scored_by",
        "state",
        "problem",
    ),
)
Line = dict[str, object]


def text(comparison: Comparison) -> str:
    """The file. Every line says all that is known of its model; keys that vary have columns of their own."""
    keys = [key for key in comparison.varying if key not in COLUMNS]
    written = io.StringIO()
    writer = csv.DictWriter(written, [*COLUMNS, *keys], lineterminator="\n")
    writer.writeheader()
    for group in comparison.groups:
        for row in group.rows:
            settings = {key: row.settings.get(key) for key in keys}
            lines = (_model(row) | line | settings for line in _scores(group, row))
            writer.writerows({name: plain(value) for name, value in line.items()} for line in lines)
    writer.writerows(_failed(run) for run in comparison.runs if run.result is None)
    return written.getvalue()


def _model(row: Row) -> Line:
    return {
        "model": row.name,
        "method": row.method,
        "alpha": row.shares,
        "probability": row.trust and row.trust.probability,
        "seconds": row.seconds,
        "bytes": row.bytes,
        "fingerprint": row.fingerprint,
        "run": row.run.output,
        "scored_by": row.scored and row.scored.output,
        "state": "done",
    }


def _scores(group: Group, row: Row) -> Iterator[Line]:
    """A line per task and one for the mean; one without a score where nothing was measured."""
    if row.scores is None:
        yield {}
        return
    reference = group.reference
    for task in (None, *group.tasks):
        found, gap = row.scores.estimate(task), group.difference(row, task)
        if found is None:
            continue
        line: Line = {
            "measure": group.measure,
            "task": task or ALL,
            "score": found.value,
            "error": found.error,
        }
        if gap is not None and reference is not None and reference.scores is not None:
            low, high = gap.interval or (None, None)
            known = None if gap.interval is None else gap.told_apart
            why = row.scores.incomparable(reference.scores)
            line |= {"reference": reference.name, "difference": gap.value, "low": low, "high": high}
            line |= {"told_apart": known, "why_no_interval": why}
        yield line


def _failed(run: FoundRun) -> Line:
    return {"model": run.place, "run": run.output, "state": run.outcome, "problem": run.error}
