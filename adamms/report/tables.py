"""The tables of a run as plain cells, which the console and the report each draw in their way.

Decides what is shown and what is marked; knows nothing of terminals or markdown. Just over 300 lines: one
small function per table, all on the same cells.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from adamms.evaluate.evaluation import Scores
from adamms.mapping.plan import Plan
from adamms.merge.candidate import Candidate
from adamms.report import words
from adamms.report.result import SEVERAL, RunResult, score_on
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


def scores(result: RunResult) -> Table | None:
    """Every model's score per task; None without an evaluation."""
    if result.evaluation is None:
        return None
    overall, fixed = result.choice(None), result.fixed
    columns: tuple[str | None, ...] = (None, *result.tasks)
    rows = [
        _score_row(f"donor {name}", found, columns, None if overall is None else "")
        for name, found in result.evaluation.donors.items()
    ]
    if result.evaluation.target is not None:
        rows.append(_score_row("target", result.evaluation.target, columns, None if overall is None else ""))
    strong = None
    for candidate in sorted(result.evaluation.candidates):
        label = result.label(candidate) + (" target" if candidate == result.unmerged else "")
        label += " fixed" if candidate == fixed else ""
        if overall is not None and candidate == overall.candidate:
            strong = len(rows)
        rows.append(_candidate_row(label, result, candidate, columns))
    if result.best_control is not None:
        candidate, found = result.best_control
        rows.append(
            _score_row(f"control {result.label(candidate)}", found, columns, None if overall is None else "")
        )
    return Table(
        f"Scores ({result.unit}) by labels that the search never saw",
        (words.noun(result.candidates), "mean", *(("D",) if overall else ()), *result.tasks),
        tuple(rows),
        strong=frozenset() if strong is None else frozenset({strong}),
        note=_several(result),
    )


def _several(result: RunResult) -> str:
    """What 'several' stands for, where it was chosen."""
    choice = result.choice(None)
    label = "" if choice is None else result.label(choice.candidate)
    return f"{label}: {choice.candidate}" if choice is not None and label == SEVERAL else ""


def _candidate_row(
    label: str, result: RunResult, candidate: Candidate, columns: Iterable[str | None]
) -> tuple[Cell, ...]:
    cells = []
    for task in columns:
        choice = result.choice(task)
        chosen = choice is not None and choice.candidate == candidate
        best = result.oracle(task) == candidate or (chosen and result.regret(task) == 0)
        cells.append(Cell(words.score(result.score(candidate, task)), chosen, best))
    overall = result.choice(None)
    if overall is not None:
        cells.insert(1, Cell(words.difference(overall.differences.get(candidate))))
    return (Cell(label), *cells)


def _score_row(
    label: str, found: Scores, columns: Iterable[str | None], placeholder: str | None
) -> tuple[Cell, ...]:
    cells = [Cell(words.score(score_on(found, task))) for task in columns]
    if placeholder is not None:
        cells.insert(1, Cell(placeholder))
    return (Cell(label), *cells)


def differences(result: RunResult) -> Table | None:
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


def choices(result: RunResult) -> Table | None:
    """The choice per task and overall, how sure it is and what it cost."""
    if result.selection is None:
        return None
    labelled, trust = result.evaluation is not None, result.selection.overall.trust
    rows = []
    named: list[tuple[str, str | None]] = [(task, task) for task in result.selection.tasks]
    for label, task in [*named, ("ALL TASKS", None)]:
        choice = result.choice(task)
        assert choice is not None
        cells = [
            Cell(label),
            Cell(result.label(choice.candidate)),
            Cell(words.difference(choice.differences[choice.candidate])),
            Cell(_ties(choice)),
            Cell(words.share(choice.confidence)),
            *([] if choice.trust is None else [Cell(words.share(choice.trust.probability))]),
            Cell(str(choice.examples)),
        ]
        if labelled:
            oracle = result.oracle(task)
            cells += [
                Cell(words.score(result.score(choice.candidate, task))),
                Cell("-" if oracle is None else result.label(oracle)),
                Cell(words.score(result.score(oracle, task))),
                Cell(words.score(result.regret(task))),
            ]
        rows.append(tuple(cells))
    return Table(
        "The choice, one winner per task and one for all",
        ("task", words.noun(result.candidates), "D", "ties with", "sure")
        + (("good",) if trust is not None else ())
        + ("examples",)
        + (("score", "oracle", "its score", "regret") if labelled else ()),
        tuple(rows),
        strong=frozenset({len(rows) - 1}),
        note="sure: share of bootstrap resamples of the examples in which the choice wins"
        + ("" if trust is None else f"; good: probability that nothing is {trust.tolerance:g} points better"),
    )


def _ties(choice: Choice) -> str:
    others = [candidate for candidate in choice.tied if candidate != choice.candidate]
    text = words.spans(others, list(choice.differences))
    return (text if len(text) <= 12 else f"{len(others)} other{'s' if len(others) > 1 else ''}") or "-"


def summary(result: RunResult) -> Table | None:
    """Mean scores of the choice and of all that it should be compared with."""
    if result.evaluation is None:
        return None
    overall = result.choice(None)
    own = result.score(overall.candidate if overall else None, None)
    compared: list[tuple[str, str, float | None]] = []
    if overall is not None:
        compared.append(("chosen, one for all tasks", result.label(overall.candidate), own))
        compared.append(("chosen, one per task", "", result.per_task_mean()))
    oracle = result.oracle(None)
    if oracle is not None:
        compared.append(("oracle (best by labels)", result.label(oracle), result.score(oracle, None)))
    if overall is not None:
        compared.append(("oracle per task", "", result.per_task_mean(of_oracles=True)))
    if result.fixed is not None:
        compared.append(("fixed, no search", str(result.fixed), result.score(result.fixed, None)))
    if result.target_score(None) is not None:
        alpha = "" if result.unmerged is None else "0"
        compared.append(("target alone", alpha, result.target_score(None)))
    compared += [(f"donor {name} alone", "", found.mean) for name, found in result.evaluation.donors.items()]
    if result.best_control is not None:
        candidate, found = result.best_control
        compared.append(("control's best (no donor)", result.label(candidate), found.mean))
    rows = []
    for label, setting, mean in compared:
        cells = [Cell(label), Cell(setting), Cell(words.score(mean))]
        if own is not None:
            cells.append(Cell(words.signed(None if mean is None else mean - own)))
        rows.append(tuple(cells))
    missing = [name for name in result.donors if name not in result.evaluation.donors]
    return Table(
        f"Mean over tasks ({result.unit})",
        ("model", words.noun(result.candidates), "mean", *(("vs chosen",) if own is not None else ())),
        tuple(rows),
        strong=frozenset({0}) if overall is not None else frozenset(),
        note=f"not run natively: donor {words.listing(missing)}" if missing else "",
    )


def coverage(plan: Plan) -> Table:
    """What becomes of the target's tensors."""
    groups = plan.coverage()
    total = sum(group.bytes for group in groups)

    def row(action: str, reason: str, tensors: int, parameters: int, size: int) -> tuple[Cell, ...]:
        part = words.share(size / total) if total else "-"
        numbers = (str(tensors), words.parameters(parameters), words.scaled(size, "B"), part)
        return tuple(map(Cell, (action, reason, *numbers)))

    rows = [row(g.action, g.reason, g.tensors, g.parameters, g.bytes) for g in groups]
    rows.append(row("total", "", sum(g.tensors for g in groups), sum(g.parameters for g in groups), total))
    return Table(
        "What becomes of the target's tensors",
        ("action", "reason", "tensors", "parameters", "size", "share"),
        tuple(rows),
        texts=2,
        strong=frozenset({len(rows) - 1}),
    )


def parts(plan: Plan) -> Table | None:
    """What each donor has a part in; None for a single one that has a part in all that is merged."""
    merged = next((group for group in plan.coverage() if group.action == "merge"), None)
    found = plan.parts()
    if merged is None or (len(found) == 1 and found[0].parameters == merged.parameters):
        return None
    total = sum(slot.nbytes for slot in plan.slots)
    rows = [
        (
            *(Cell(part.donor), Cell(str(part.tensors)), Cell(words.parameters(part.parameters))),
            *(Cell(words.scaled(part.bytes, "B")), Cell(words.share(part.bytes / total))),
        )
        for part in found
    ]
    columns = ("donor", "tensors", "parameters", "size", "share")
    return Table("What each donor has a part in", columns, tuple(rows))


def aligned(plan: Plan) -> Table | None:
    """Embeddings and heads that rows of a donor's go into one by one; None where none do."""
    rows = [
        (
            *(Cell(found.tensor), Cell(found.donor)),
            *(Cell(str(found.matched)), Cell(str(found.rows)), Cell(str(found.rows - found.matched))),
        )
        for found in plan.alignments()
    ]
    if not rows:
        return None
    columns = ("tensor", "donor", "matched", "rows", "kept")
    return Table("Rows by token", columns, tuple(rows), texts=2, note="kept: the target's own row")


def unused(plan: Plan) -> Table | None:
    """Donor tensors that no slot reads; None when all are read."""
    rows = [
        (Cell(donor), Cell(reason), Cell(str(len(names))))
        for donor, reasons in plan.unused.items()
        for reason, names in reasons.items()
    ]
    if not rows:
        return None
    return Table("Donor tensors that are not used", ("donor", "reason", "tensors"), tuple(rows), texts=2)


def lacking(plan: Plan) -> Table | None:
    """Merged slots that some donor has no part in; None when every donor has its part."""
    counts: dict[tuple[str, str], int] = {}
    for slot in plan.slots:
        for donor, reason in slot.lacking.items():
            counts[donor, reason] = counts.get((donor, reason), 0) + 1
    if not counts:
        return None
    rows = [(Cell(d), Cell(reason), Cell(str(count))) for (d, reason), count in counts.items()]
    return Table(
        "Merged tensors that a donor has no part in", ("donor", "reason", "tensors"), tuple(rows), texts=2
    )


def timings(result: RunResult) -> Table | None:
    """How long every stage took."""
    if not result.timings:
        return None
    rows = [
        (
            Cell(stage.title),
            Cell(words.seconds(stage.seconds)),
            Cell(words.quantity(stage.count, stage.unit) if stage.unit else ""),
            Cell(words.rate(stage.count, stage.unit, stage.seconds)),
        )
        for stage in result.timings
    ]
    rows.append(
        (Cell("total"), Cell(words.seconds(sum(s.seconds for s in result.timings))), Cell(""), Cell(""))
    )
    return Table("Time", ("stage", "time", "done", "rate"), tuple(rows), strong=frozenset({len(rows) - 1}))
