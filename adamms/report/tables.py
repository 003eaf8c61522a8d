"""The tables of a run. Those of a plan are in `plan_tables`, those of a comparison in `comparison_tables`."""

from collections.abc import Callable, Iterable, Sequence

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Scores
from adamms.evaluate.foreign.results import Metric, ToolResults
from adamms.merge.candidate import Candidate
from adamms.report import extraction, words
from adamms.report.result import SEVERAL, Result, StageTiming
from adamms.report.table import ERROR, Cell, Column, Table
from adamms.search.choice import Choice


def scores(result: Result) -> Table | None:
    """Every model's score per task, and D of the candidates; None without an evaluation."""
    evaluation, overall, control = result.evaluation, result.choice(None), result.best_control
    if evaluation is None:
        return None
    rows = [_score_row(result, f"donor {name}", found) for name, found in evaluation.donors.items()]
    rows += [_score_row(result, f"donor {name} not asked all", Scores({})) for name in result.unscored]
    if evaluation.target is not None:
        rows.append(_score_row(result, "target", evaluation.target))
    first, grid = len(rows), sorted(evaluation.candidates)
    for candidate in grid:
        label = result.label(candidate) + (" target" if candidate == result.unmerged else "")
        label += " fixed" if candidate == result.fixed else ""
        rows.append(_score_row(result, label, evaluation.candidates[candidate], candidate))
    if control is not None:
        rows.append(_score_row(result, f"control {result.label(control[0])}", control[1]))
    chosen = result.winner(None)
    several = f"{SEVERAL}: {chosen}" if chosen and result.label(chosen) == SEVERAL else ""
    return Table(
        f"Scores ({result.unit}) by labels that the search never saw",
        (words.noun(result.candidates), "mean", *(("D",) if overall else ()), *result.tasks),
        tuple(rows),
        strong=frozenset(first + place for place, candidate in enumerate(grid) if candidate == chosen),
        note="; ".join(note for note in (several, _errors(rows)) if note),
    )


def _errors(rows: Iterable[Sequence[Cell]]) -> str:
    """What the errors of a table of scores are, and how large; "" where none is known."""
    kinds = {
        "of a mean": [row[1] for row in rows],
        "of a task's score": [cell for row in rows for cell in row[2:]],
    }
    known = {
        kind: [cell.estimate.error for cell in cells if cell.estimate and cell.estimate.error is not None]
        for kind, cells in kinds.items()
    }
    said = ", ".join(f"{kind} at most {max(errors):.1f}" for kind, errors in known.items() if errors)
    return f"{ERROR}: {said}" if said else ""


def _score_row(
    result: Result, label: str, found: Scores, candidate: Candidate | None = None
) -> tuple[Cell, ...]:
    """The scores of a model; one that is no candidate has no D and no marks."""
    overall, cells = result.choice(None), [Cell(label)]
    for task in (None, *result.tasks):
        chosen = candidate is not None and candidate == result.winner(task)
        best = candidate is not None and candidate == result.oracle(task)
        best = best or (chosen and (regret := result.regret(task)) is not None and regret.value == 0)
        cells.append(Cell.of(found.estimate(task), chosen, best))
    if overall is not None:
        cells.insert(2, Cell(words.difference(overall.differences.get(candidate)) if candidate else ""))
    return tuple(cells)


def differences(result: Result) -> Table | None:
    """D per candidate, over all examples and per task, with the overall bootstrap wins."""
    if result.selection is None:
        return None
    overall, tasks = result.selection.overall, result.selection.tasks

    def difference(choice: Choice) -> Callable[[Candidate], Cell]:
        return lambda c: _difference(choice, c, chosen=choice.candidate == c)

    noun = words.noun(result.candidates)
    return Table.of(
        f"D: {words.meaning(overall, result.candidates)}",
        [c for c in result.candidates if any(c in each.differences for each in (overall, *tasks.values()))],
        [
            (noun, result.label),
            ("all", difference(overall)),
            ("wins", lambda candidate: words.share(overall.wins.get(candidate, 0.0))),
            *((task, difference(choice)) for task, choice in tasks.items()),
        ],
        note=f"wins: share of bootstrap resamples of all examples in which the {noun} wins",
    )


def choices(result: Result) -> Table | None:
    """The choice per task and overall, how good it probably is and what it cost."""
    if result.selection is None:
        return None
    trust, found = result.selection.overall.trust, result.choices
    columns: list[Column[str | None]] = [
        ("task", lambda task: words.ALL_TASKS if task is None else task),
        (words.noun(result.candidates), lambda task: result.label(found[task].candidate)),
        ("good", lambda task: words.probability(found[task].trust)),
        ("wins", lambda task: words.wins(found[task])),
        ("D", lambda task: _difference(found[task], found[task].candidate)),
        ("ties with", lambda task: _ties(found[task])),
        ("examples", lambda task: str(found[task].examples)),
    ]
    note = "wins: share of bootstrap resamples of the examples in which the choice wins"
    if trust is not None:
        note = f"good: how probably it is {words.good(trust)}, LOW below {words.share(words.TRUSTED)}; {note}"
    if result.evaluation is not None:
        columns += [
            ("score", lambda task: Cell.of(result.scores_of(result.winner(task)).estimate(task))),
            ("oracle", lambda task: "-" if (best := result.oracle(task)) is None else result.label(best)),
            ("regret", lambda task: Cell.of(result.regret(task))),
        ]
        note += f"; regret: what the score lacks to the oracle's; {ERROR}"
    title = "The choice, one winner per task and one for all"
    return Table.of(title, found, columns, strong={len(found) - 1}, note=note)


def _difference(choice: Choice, candidate: Candidate, chosen: bool = False) -> Cell:
    """D of a candidate."""
    text = words.difference(choice.differences.get(candidate))
    return Cell(text, chosen, ends=choice.intervals.get(candidate))


def _ties(choice: Choice) -> str:
    others = [candidate for candidate in choice.tied if candidate != choice.candidate]
    text = words.spans(others, list(choice.differences))
    return (text if len(text) <= 12 else f"{len(others)} other{'s' if len(others) > 1 else ''}") or "-"


def summary(result: Result) -> Table | None:
    """Mean scores of the choice and of all that it should be compared with, on the same examples."""
    evaluation, overall, oracle = result.evaluation, result.choice(None), result.oracle(None)
    if evaluation is None:
        return None
    compared: list[tuple[str, str, Scores]] = []  # model, setting, scores
    own = result.chosen
    if overall is not None:
        compared.append(("chosen, one for all tasks", result.label(overall.candidate), own))
        compared.append(("chosen, one per task", "", result.per_task()))
    if oracle is not None:
        compared.append(("oracle (best by labels)", result.label(oracle), result.scores_of(oracle)))
    if overall is not None:
        compared.append(("oracle per task", "", result.per_task(of_oracles=True)))
    if result.fixed is not None:
        compared.append(("fixed, no search", str(result.fixed), result.scores_of(result.fixed)))
    if result.target_scores.tasks:
        alpha = "" if result.unmerged is None else "0"
        compared.append(("target alone", alpha, result.target_scores))
    compared += [(f"donor {name} alone", "", found) for name, found in evaluation.donors.items()]
    compared += [(f"donor {name} alone: not asked all", "", Scores({})) for name in result.unscored]
    if result.best_control is not None:
        candidate, found = result.best_control
        compared.append(("control's best (no donor)", result.label(candidate), found))
    columns: list[Column[tuple[str, str, Scores]]] = [
        ("model", lambda row: row[0]),
        (words.noun(result.candidates), lambda row: row[1]),
        ("mean", lambda row: Cell.of(row[2].estimate())),
    ]
    if own.tasks:
        columns.append(("vs chosen", lambda row: "" if row[2] is own else signed(row[2].estimate(less=own))))
    missing = [name for name in result.donors if name not in (*evaluation.donors, *result.unscored)]
    return Table.of(
        f"Mean over tasks ({result.unit})",
        compared,
        columns,
        strong=() if overall is None else {0},
        note=f"not run natively: donor {words.listing(missing)}" if missing else "",
    )


def signed(found: Estimate | None) -> Cell:
    """A difference with its sign and its standard error."""
    return Cell(words.signed(None if found is None else found.value), estimate=found)


def own_scores(result: Result) -> Table | None:
    """The scores per task of a model that was evaluated by itself; None where there are none."""
    if result.scores is None:
        return None
    found = result.scores
    columns: list[Column[str | None]] = [
        ("task", lambda task: "mean" if task is None else task),
        ("score", lambda task: Cell.of(found.estimate(task))),
    ]
    note = ERROR if words.error(found.estimate()) else ""
    return Table.of(
        f"Scores ({result.unit})", (*found.tasks, None), columns, strong={len(found.tasks)}, note=note
    )


def of_tool(found: ToolResults) -> Table:
    """An evaluation tool's metrics in its own units."""
    columns: list[Column[Metric]] = [
        ("task", lambda m: m.task),
        ("metric", lambda m: m.name if m.filter == "none" else f"{m.name}, {m.filter}"),
        ("value", lambda m: words.metric(m.value)),
        ("stderr", lambda m: words.metric(m.stderr)),
        ("n", lambda m: "-" if m.samples is None else str(m.samples)),
    ]
    note = f"its own units; samples and log: {found.folder}"
    return Table.of(
        f"{found.tool} {found.version}, {found.model}", found.metrics, columns, texts=2, note=note
    )


def extracted(result: Result) -> Table | None:
    """What an adapter leaves of each layer's difference; None where none was made."""
    return None if result.extracted is None else extraction.table(result.extracted)


def timings(result: Result) -> Table | None:
    """How long every stage took; None where nothing was timed."""
    if not result.timings:
        return None
    total = StageTiming("total", sum(stage.seconds for stage in result.timings))
    columns: list[Column[StageTiming]] = [
        ("stage", lambda stage: stage.title),
        ("time", lambda stage: words.seconds(stage.seconds)),
        ("done", lambda stage: words.quantity(stage.count, stage.unit) if stage.unit else ""),
        ("rate", lambda stage: words.rate(stage.count, stage.unit, stage.seconds)),
    ]
    return Table.of("Time", (*result.timings, total), columns, strong={len(result.timings)})
