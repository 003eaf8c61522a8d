"""The tables of a run as plain cells: what is shown, and what is marked.

The console and the page draw them, each in its way. The tables of a plan are in `plan_tables`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import Candidate
from adamms.report import words
from adamms.report.result import SEVERAL, Result
from adamms.search.choice import Choice


@dataclass(frozen=True)
class Cell:
    """One number or word; `chosen` by the search without labels, `best` by labels."""

    text: str
    chosen: bool = False
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Args:
        title: above it.
        columns: the headings.
        rows: as many cells as headings each.
        texts: how many leading columns are words, aligned left; the others are numbers.
        strong: indices of rows to emphasise.
        note: below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    strong: frozenset[int] = frozenset()
    note: str = ""


def rows_of(rows: Iterable[Sequence[str]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of plain texts as cells without marks."""
    return tuple(tuple(map(Cell, row)) for row in rows)


def scores(result: Result) -> Table | None:
    """Every model's score per task, and D of the candidates; None without an evaluation."""
    evaluation, overall, control = result.evaluation, result.choice(None), result.best_control
    if evaluation is None:
        return None
    rows = [_score_row(f"donor {name}", found, result) for name, found in evaluation.donors.items()]
    if evaluation.target is not None:
        rows.append(_score_row("target", evaluation.target, result))
    first, grid = len(rows), sorted(evaluation.candidates)
    rows += [_candidate_row(candidate, result) for candidate in grid]
    if control is not None:
        rows.append(_score_row(f"control {result.label(control[0])}", control[1], result))
    chosen = overall is not None and overall.candidate in grid
    several = overall is not None and result.label(overall.candidate) == SEVERAL
    return Table(
        f"Scores ({result.unit}) by labels that the search never saw",
        (words.noun(result.candidates), "mean", *(("D",) if overall else ()), *result.tasks),
        tuple(rows),
        strong=frozenset({first + grid.index(overall.candidate)}) if overall and chosen else frozenset(),
        note=f"{SEVERAL}: {overall.candidate}" if overall and several else "",
    )


def _candidate_row(candidate: Candidate, result: Result) -> tuple[Cell, ...]:
    overall = result.choice(None)
    cells = []
    for task in (None, *result.tasks):
        choice = result.choice(task)
        chosen = choice is not None and choice.candidate == candidate
        best = result.oracle(task) == candidate or (chosen and result.regret(task) == 0)
        cells.append(Cell(words.score(result.score(candidate, task)), chosen, best))
    if overall is not None:
        cells.insert(1, Cell(words.difference(overall.differences.get(candidate))))
    label = result.label(candidate) + (" target" if candidate == result.unmerged else "")
    return (Cell(label + (" fixed" if candidate == result.fixed else "")), *cells)


def _score_row(label: str, found: Scores, result: Result) -> tuple[Cell, ...]:
    """The scores of a model that is no candidate: it has no D."""
    texts = [words.score(found.on(task)) for task in (None, *result.tasks)]
    if result.selection is not None:
        texts.insert(1, "")
    return tuple(map(Cell, (label, *texts)))


def differences(result: Result) -> Table | None:
    """D per candidate, over all examples and per task, with the overall bootstrap wins."""
    overall = result.choice(None)
    if overall is None or result.selection is None:
        return None
    choices = [overall, *result.selection.tasks.values()]
    rows = []
    for candidate in result.candidates:
        if not any(candidate in choice.differences for choice in choices):
            continue
        cells = [
            Cell(words.difference(choice.differences.get(candidate)), chosen=choice.candidate == candidate)
            for choice in choices
        ]
        cells.insert(1, Cell(words.share(overall.wins.get(candidate, 0.0))))
        rows.append((Cell(result.label(candidate)), *cells))
    noun = words.noun(result.candidates)
    return Table(
        f"D: {words.meaning(overall, result.candidates)}",
        (noun, "all", "wins", *result.selection.tasks),
        tuple(rows),
        note=f"wins: share of bootstrap resamples of all examples in which the {noun} wins",
    )


def choices(result: Result) -> Table | None:
    """The choice per task and overall, how sure it is and what it cost."""
    if result.selection is None:
        return None
    labelled, trust = result.evaluation is not None, result.selection.overall.trust
    tasks: dict[str, str | None] = {task: task for task in result.selection.tasks} | {words.ALL_TASKS: None}
    rows = [(label, *_choice(result, task, labelled)) for label, task in tasks.items()]
    columns = ["task", words.noun(result.candidates), "D", "ties with", "sure"]
    columns += [] if trust is None else ["good"]
    columns += ["examples", *(("score", "oracle", "its score", "regret") if labelled else ())]
    note = "sure: share of bootstrap resamples of the examples in which the choice wins"
    good = "" if trust is None else f"; good: probability that nothing is {trust.tolerance:g} points better"
    return Table(
        "The choice, one winner per task and one for all",
        tuple(columns),
        rows_of(rows),
        strong=frozenset({len(rows) - 1}),
        note=note + good,
    )


def _choice(result: Result, task: str | None, labelled: bool) -> list[str]:
    choice, oracle = result.choice(task), result.oracle(task)
    assert choice is not None
    texts = [
        result.label(choice.candidate),
        words.difference(choice.differences[choice.candidate]),
        _ties(choice),
        words.share(choice.confidence),
    ]
    texts += [] if choice.trust is None else [words.share(choice.trust.probability)]
    texts.append(str(choice.examples))
    if labelled:
        texts.append(words.score(result.score(choice.candidate, task)))
        texts.append("-" if oracle is None else result.label(oracle))
        texts += [words.score(result.score(oracle, task)), words.score(result.regret(task))]
    return texts


def _ties(choice: Choice) -> str:
    others = [candidate for candidate in choice.tied if candidate != choice.candidate]
    text = words.spans(others, list(choice.differences))
    return (text if len(text) <= 12 else f"{len(others)} other{'s' if len(others) > 1 else ''}") or "-"


def summary(result: Result) -> Table | None:
    """Mean scores of the choice and of all that it should be compared with."""
    evaluation, overall, oracle = result.evaluation, result.choice(None), result.oracle(None)
    if evaluation is None:
        return None
    compared: list[tuple[str, str, float | None]] = []  # model, setting, mean
    own = None
    if overall is not None:
        own = result.score(overall.candidate, None)
        compared.append(("chosen, one for all tasks", result.label(overall.candidate), own))
        compared.append(("chosen, one per task", "", result.per_task_mean()))
    if oracle is not None:
        compared.append(("oracle (best by labels)", result.label(oracle), result.score(oracle, None)))
    if overall is not None:
        compared.append(("oracle per task", "", result.per_task_mean(of_oracles=True)))
    if result.fixed is not None:
        compared.append(("fixed, no search", str(result.fixed), result.score(result.fixed, None)))
    if result.target_score(None) is not None:
        alpha = "" if result.unmerged is None else "0"
        compared.append(("target alone", alpha, result.target_score(None)))
    compared += [(f"donor {name} alone", "", found.mean) for name, found in evaluation.donors.items()]
    if result.best_control is not None:
        candidate, found = result.best_control
        compared.append(("control's best (no donor)", result.label(candidate), found.mean))
    rows = []
    for label, setting, mean in compared:
        gain = None if mean is None or own is None else mean - own
        rows.append(
            (
                label,
                setting,
                words.score(mean),
                *(() if own is None else (words.signed(gain),)),
            )
        )
    missing = [name for name in result.donors if name not in evaluation.donors]
    return Table(
        f"Mean over tasks ({result.unit})",
        ("model", words.noun(result.candidates), "mean", *(() if own is None else ("vs chosen",))),
        rows_of(rows),
        strong=frozenset() if overall is None else frozenset({0}),
        note=f"not run natively: donor {words.listing(missing)}" if missing else "",
    )


def own_scores(result: Result) -> Table | None:
    """The scores per task of a model that was evaluated by itself; None where there are none."""
    if result.scores is None:
        return None
    found = {**result.scores.tasks, "mean": result.scores.mean}
    rows = rows_of((name, words.score(value)) for name, value in found.items())
    return Table(f"Scores ({result.unit})", ("task", "score"), rows, strong=frozenset({len(rows) - 1}))


def lmms_eval(result: Result) -> Table | None:
    """lmms-eval's metrics in its own units; None where it was not run."""
    found = result.lmms_eval
    if found is None:
        return None
    rows = [
        (
            metric.task,
            metric.name if metric.filter == "none" else f"{metric.name}, {metric.filter}",
            words.metric(metric.value),
            words.metric(metric.stderr),
            "-" if metric.samples is None else str(metric.samples),
        )
        for metric in found.metrics
    ]
    columns = ("task", "metric", "value", "stderr", "n")
    note = f"its own units; samples and log: {found.folder}"
    return Table(f"lmms-eval {found.version}, {found.model}", columns, rows_of(rows), texts=2, note=note)


def timings(result: Result) -> Table | None:
    """How long every stage took; None where nothing was timed."""
    if not result.timings:
        return None
    rows = [
        (
            stage.title,
            words.seconds(stage.seconds),
            words.quantity(stage.count, stage.unit) if stage.unit else "",
            words.rate(stage.count, stage.unit, stage.seconds),
        )
        for stage in result.timings
    ]
    rows.append(("total", words.seconds(sum(stage.seconds for stage in result.timings)), "", ""))
    columns = ("stage", "time", "done", "rate")
    return Table("Time", columns, rows_of(rows), strong=frozenset({len(rows) - 1}))
