"""The tables and sentences of a comparison: what is shown of models and searches, and what is marked.

The console and the page draw the same cells. Knows no files.
"""

from collections.abc import Callable, Mapping, Sequence

from adamms.report import words
from adamms.report.compare.comparison import Comparison, Group, Row
from adamms.report.compare.comparison_verdicts import same_model, score_cell
from adamms.report.compare.run_folders import FoundRun
from adamms.report.result import Result
from adamms.report.table import ERROR, Cell, Column, Table, rows_of
from adamms.search.choice import Choice, about, where

ADAMMS = "linear"
Named = tuple[str, FoundRun]


def overview(comparison: Comparison, wide: bool = False) -> Table | None:
    """A row per model and measure, the best first; None if there is no model.

    Args:
        wide: whether with time and size, and with a column for each task, where there is something else.
    """
    placed = [(group, row) for group in comparison.groups for row in group.rows]
    if not placed:
        return None
    measures = [group for group in comparison.groups if group.reference]
    columns: list[Column[tuple[Group, Row]]] = [("model", lambda at: at[1].name)]
    if len(comparison.groups) > 1:
        columns.append(("measured by", lambda at: at[0].measure or "-"))
    if any(row.method and row.method not in row.name.split() for _, row in placed):
        columns.append(("method", lambda at: at[1].method or "-"))
    columns.append(("alpha", lambda at: at[1].shares or "-"))
    texts = len(columns)
    if any(row.trust for _, row in placed):
        columns.append(("good", lambda at: words.probability(at[1].trust)))
    if measures:
        columns.append(("mean", lambda at: score_cell(at[1].scores, None, best=at[1] in at[0].best)))
        columns.append((_versus(measures), lambda at: Cell(difference(at[0], at[1]))))
    if wide or not measures:
        columns.append(("time", lambda at: "-" if at[1].seconds is None else words.seconds(at[1].seconds)))
        columns.append(("size", lambda at: "-" if (n := at[1].bytes) is None else words.quantity(n, "bytes")))
    if wide:
        named = dict.fromkeys(task for group in measures for task in group.tasks)
        columns += [(task, _task(task)) for task in named]
    strong = [place for place, (group, row) in enumerate(placed) if row in group.best]
    title = words.quantity(len(placed), "models") + (" and measures" if len(measures) > 1 else "")
    only = f" ({_unit(measures[0])})" if len(measures) == 1 else ""
    return Table.of(title + only, placed, columns, texts, strong)


def _unit(group: Group) -> str:
    scores = group.rows[0].scores
    percent = ", %" if scores and scores.percent else ""
    return f"{group.measure}{percent}, by labels that no search saw"


def _versus(measures: Sequence[Group]) -> str:
    """The heading above the differences: 'vs best', or 'vs target alone'."""
    found = {
        group.reference.name if group.reference != group.rows[0] else "best"
        for group in measures
        if group.reference
    }
    return f"vs {found.pop()}" if len(found) == 1 else "vs reference"


def difference(group: Group, row: Row) -> str:
    """'+1.8 (0.3 to 3.2)'; with a question mark where nobody can say how exact it is."""
    gap = group.difference(row)
    if gap is None or group.reference is None:
        return "reference" if row is group.reference else "-"
    if same_model(row, group.reference):
        return "the same"
    return words.versus(gap)


def _task(task: str) -> Callable[[tuple[Group, Row]], Cell]:
    return lambda at: score_cell(at[1].scores, task) if task in at[0].tasks else Cell("")


def unknown(comparison: Comparison) -> list[str]:
    """Why some differences have no interval, a line for each reason with its models."""
    found: dict[str, list[str]] = {}
    for group in comparison.groups:
        for row in group.rows:
            gap = group.difference(row)
            if gap and gap.interval is None and row.scores and group.reference and group.reference.scores:
                why = row.scores.incomparable(group.reference.scores)
                found.setdefault(f"{group.measure}: {why}", []).append(row.name)
    return [f"(?) no interval by {why} ({', '.join(rows)})" for why, rows in found.items()]


def searches(comparison: Comparison) -> Table:
    """What each search chose and how sure that is; no rows if no search has ended."""
    found = comparison.searches
    columns: list[Column[Named]] = [
        ("search", lambda at: at[0]),
        ("chosen", lambda at: str(at[1].found.winner(None))),
    ]
    columns += [
        ("good", lambda at: _known(at[1], lambda choice: words.probability(choice.trust))),
        (
            "D",
            lambda at: _known(at[1], lambda choice: words.difference(choice.differences[choice.candidate])),
        ),
        ("wins", lambda at: _known(at[1], words.wins)),
    ]
    if any(run.found.chosen.tasks for _, run in found):
        columns += [
            ("mean", lambda at: Cell.of(at[1].found.chosen.estimate())),
            ("per task", lambda at: Cell.of(at[1].found.per_task().estimate())),
            ("regret", lambda at: Cell.of(at[1].found.regret(None))),
        ]
    return Table.of("What the searches chose", found, columns, texts=2)


def _known(run: FoundRun, text: Callable[[Choice], str]) -> str:
    """What is said of its choice; a dash where there is none."""
    choice = run.found.choice(None)
    return "-" if choice is None else text(choice)


def legend(comparison: Comparison) -> list[str]:
    """What the columns mean, a line each."""
    lines = []
    if any(group.reference for group in comparison.groups):
        lines.append("mean: over tasks, ^ the best; scores by different measures are never ranked")
        lines.append(
            f"{_versus([g for g in comparison.groups if g.reference])}: 95 % interval, over the same examples"
        )
    results = [run.found for _, run in comparison.searches]
    choices = [choice for result in results if (choice := result.choice(None))]
    if trust := next((choice.trust for choice in choices if choice.trust), None):
        lines.append(
            f"good: how probably the choice is {words.good(trust)}, LOW below {words.share(words.TRUSTED)}"
        )
    if choices:
        lines.append("D: what the answers hold against it; wins: resamples that the choice wins")
    if any(result.chosen.tasks for result in results):
        lines.append(
            "per task: one model for each; regret: what the mean lacks to the best of all that was tried"
        )
        lines += [ERROR] if any(words.error(result.chosen.estimate()) for result in results) else []
    if unasked := dict.fromkeys(name for result in results for name in result.unscored):
        lines.append(f"not asked: donor {words.listing(unasked)}")
    methods = {row.method for row in comparison.rows if row.method}
    if len(methods) > 1 and ADAMMS in methods:
        lines.append(f"{ADAMMS} is AdaMMS' merge")
    return lines


def doubts(comparison: Comparison) -> list[str]:
    """What makes choices over all tasks doubtful, a line for each reason with its searches."""
    chosen = {name: choice for name, run in comparison.searches if (choice := run.found.choice(None))}
    found = where({name: choice.doubts for name, choice in chosen.items()})
    return [about(searches, doubt) for doubt, searches in found.items()]


def failures(comparison: Comparison) -> list[str]:
    """A sentence for each run without a result, and for each folder without a run."""
    return [
        f"run {run.number} ({run.place}): {run.outcome}: {run.error or 'it still runs, or was killed'}"
        for run in comparison.runs
        if run.result is None
    ] + list(comparison.problems)


def hyperparameters(comparison: Comparison) -> Table:
    """All that the models were merged with; without rows if nothing was merged."""
    merged: Mapping[str, Result] = {row.name: row.run.found for row in comparison.rows if row.method}
    rows = []
    for name, found in merged.items():
        assert found.hyperparameters is not None
        own = found.hyperparameters
        values = {key: "null" if value is None else value for key, value in own.parameters.items()}
        parameters = ", ".join(f"{key}={value}" for key, value in values.items())
        shares = ", ".join(f"{donor}={share:g}" for donor, share in own.shares.items())
        shares += f", by the schedule {words.schedule(own.schedule)}" if own.schedule else ""
        rows.append((name, own.method, shares, parameters or "-"))
    columns = ("model", "method", "the donors' shares", "parameters")
    return Table("Hyper-parameters of the models", columns, rows_of(rows), texts=4)


def choices(comparison: Comparison) -> Table:
    """The choice for every task, with its score where there are labels; no rows if no search has ended."""
    tasks = dict.fromkeys(task for _, run in comparison.searches for task in run.found.choices if task)

    def chosen(task: str) -> Callable[[Named], Cell]:
        return lambda at: _chosen(at[1].found, task)

    columns: list[Column[Named]] = [("search", lambda at: at[0]), *((task, chosen(task)) for task in tasks)]
    return Table.of("The choice for each task", comparison.searches, columns)


def _chosen(result: Result, task: str) -> Cell:
    winner, score = result.winner(task), result.scores_of(result.winner(task)).estimate(task)
    text = "-" if winner is None else str(winner)
    return Cell(text if score is None else f"{text}: {words.score(score.value)}", estimate=score)
