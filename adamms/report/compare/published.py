"""Published scores beside those of runs: a row per model, as the table of a paper has them.

A model is the same as a published one if it has its name: the alpha, another model's name, a search's name.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import Candidate
from adamms.report import words
from adamms.report.compare.comparison import Comparison
from adamms.report.result import Result
from adamms.report.table import ERROR, Cell, Column, Table

Published = Mapping[str, Mapping[str, float]]  # model -> task -> score
SUM, PUBLISHED = "sum", "published"
ALPHA_OF = "alpha of "  # how a published row of alphas begins
COLUMNS = ("model", "task", "score", "error", "low", "high", "published", "alpha", "published_alpha")


@dataclass(frozen=True)
class Line:
    """One model; or one for each task, at the alpha that a search or the labels choose.

    Args:
        name: of the model, for people.
        scores: on no task where there are only published ones.
        published: task -> score.
        alphas: task -> its alpha, where they are several; `published_alphas`: the published one.
    """

    name: str
    scores: Scores = field(default_factory=lambda: Scores({}))
    published: Mapping[str, float] = field(default_factory=dict)
    alphas: Mapping[str, str] = field(default_factory=dict)
    published_alphas: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """All models with what is published of them.

    Args:
        tasks: the columns.
        lines: the rows.
        reference: the row that the others' differences are to.
    """

    tasks: tuple[str, ...]
    lines: tuple[Line, ...]
    reference: Line

    def score(self, line: Line, task: str | None, less: Line | None = None) -> Estimate | None:
        """On a task, or with None the sum over tasks; with `less` what it is above another line's."""
        if not set(self.tasks) <= line.scores.tasks.keys() and task is None:
            return None
        found = line.scores.estimate(task, less=less.scores if less else None)
        return found if task is not None or found is None else _times(found, len(self.tasks))

    def published(self, line: Line, task: str | None) -> float | None:
        """What is published, on a task or with None the sum."""
        if task is not None:
            return line.published.get(task)
        known = [line.published.get(each) for each in self.tasks]
        return None if None in known else sum(value for value in known if value is not None)


def beside(comparison: Comparison) -> Beside | None:
    """The searches of a comparison beside what is published; None where nothing is."""
    found = [(name, run.found) for name, run in comparison.searches if run.found.published]
    if not found:
        return None
    first = found[0][1]
    alike = [(name, own) for name, own in found if own.published == first.published and own.evaluation]
    published = {_name(model): row for model, row in first.published.items()}
    columns = dict.fromkeys(task for row in published.values() for task in row)
    tasks = tuple(sorted(first.tasks, key=[*columns, *first.tasks].index))
    lines = _models(first, published)
    searches = [
        Line(
            name,
            own.per_task(),
            published.get(name, {}),
            {task: str(own.winner(task)) for task in tasks},
            _alphas(published.get(ALPHA_OF + name, {})),
        )
        for name, own in alike
    ]
    shown = {*map(str, first.candidates), *first.scored.donors, *first.scored.others, *dict(alike)}
    known = [name for name in published if name not in shown and not name.startswith(ALPHA_OF)]
    oracle = _oracle(first, published, tasks)
    lines += [*searches, oracle, *(Line(name, published=published[name]) for name in known)]
    return Beside(tasks, tuple(lines), searches[0] if searches else lines[0])


def _name(model: str) -> str:
    """Of an alpha as candidates are called: 0 of 0.0."""
    try:
        return str(Candidate(float(model)))
    except ValueError:
        return model


def _models(result: Result, published: Published) -> list[Line]:
    """The target, the donors, the other candidates and the other models."""
    scored = result.scored
    unmerged = result.unmerged
    candidates = [
        Line(
            "target (alpha 0)" if c == unmerged else f"alpha {c}",
            result.scores_of(c),
            published.get(str(c), {}),
        )
        for c in sorted(scored.candidates)
    ]
    donors = [Line(f"donor {name}", own, published.get(name, {})) for name, own in scored.donors.items()]
    others = [Line(name, own, published.get(name, {})) for name, own in scored.others.items()]
    return [*candidates[:1], *donors, *candidates[1:], *others]


def _oracle(result: Result, published: Published, tasks: Sequence[str]) -> Line:
    """The best candidate for each task by labels, and the best of the published scores."""
    rows = {str(c): published.get(str(c), {}) for c in sorted(result.scored.candidates)}
    best = {task: max(rows, key=lambda name: rows[name].get(task, -1.0)) for task in tasks}
    known = {task: name for task, name in best.items() if task in rows[name]}
    alphas = {task: str(result.oracle(task)) for task in tasks}
    highest = {task: rows[name][task] for task, name in known.items()}
    return Line("oracle per task", result.per_task(of_oracles=True), highest, alphas, known)


def _alphas(row: Mapping[str, float]) -> dict[str, str]:
    return {task: f"{alpha:g}" for task, alpha in row.items()}


def _times(found: Estimate, count: int) -> Estimate:
    """The sum of tasks of which this is the mean."""
    error = None if found.error is None else found.error * count
    interval = None if found.interval is None else (found.interval[0] * count, found.interval[1] * count)
    return replace(found, value=found.value * count, error=error, interval=interval)


def table(found: Beside, wide: bool = False) -> Table:
    """The sums, each beside the published one; `wide`: also every task."""
    Row = tuple[Line, bool]  # the line, and whether its alphas are shown
    rows: list[Row] = []
    for line in found.lines:
        rows += [(line, False)] + ([(line, True)] if line.alphas else [])

    def score(task: str | None) -> Column[Row]:
        def cell(row: Row) -> Cell:
            line, alphas = row
            if alphas:
                return Cell(line.alphas.get(task, "") if task else "")
            own = found.score(line, task)
            return Cell("-" if own is None else f"{own.value:.2f}", estimate=own)

        return task or SUM, cell

    def published(task: str | None) -> Column[Row]:
        def cell(row: Row) -> str:
            line, alphas = row
            if alphas:
                return line.published_alphas.get(task, "") if task else ""
            known = found.published(line, task)
            return "" if known is None else f"{known:.2f}"

        return PUBLISHED, cell

    def versus(row: Row) -> str:
        line, alphas = row
        gap = found.score(line, None, less=found.reference)
        if alphas or gap is None or line is found.reference:
            return "" if alphas or gap is None else "reference"
        return words.versus(gap)

    columns: list[Column[Row]] = [("model", lambda row: "its alphas" if row[1] else row[0].name)]
    columns += [score(None), published(None), (f"vs {found.reference.name}", versus)]
    columns += [column for task in found.tasks if wide for column in (score(task), published(task))]
    strong = [place for place, (line, alphas) in enumerate(rows) if line.alphas and not alphas]
    note = (
        f"{SUM}: over {len(found.tasks)} tasks; {ERROR}; in brackets 95 % intervals, over the same examples"
    )
    return Table.of("Beside what is published", rows, columns, strong=strong, note=note)


def text(found: Beside) -> str:
    """published.csv: a line per model and task, and one for the sum."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in found.lines:
        for task in (*found.tasks, None):
            own, known = found.score(line, task), found.published(line, task)
            value, error = (own.value, own.error) if own else (None, None)
            low, high = (own and own.interval) or (None, None)
            alphas = line.alphas.get(task or ""), line.published_alphas.get(task or "")
            rounded = None if known is None else round(known, 2)
            row = (line.name, task or SUM, value, error, low, high, rounded, *alphas)
            writer.writerow(row)
    return written.getvalue()
