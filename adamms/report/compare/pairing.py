"""What belongs together among runs: a merge and the evaluations of its model, scores that may be compared.

By the model's folder, or else by the fingerprint of its weights. Reads runs through `run_folders`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adamms.errors import AdammsError
from adamms.report.compare.comparison import Comparison, Group, Row, mean, typed
from adamms.report.compare.comparison_names import named, told_apart
from adamms.report.compare.measured import Measured, of_evaluation, of_search
from adamms.report.compare.run_folders import FoundRun, find

SCORED = {"search": "as searches scored them", "evaluate": "as evaluated later"}  # mode of the run


def gather(folders: Sequence[Path], output: Path, reference: str | None = None) -> Comparison:
    """Read what runs left, and pair merges with the evaluations of their models.

    Args:
        folders: of runs, of multiruns, or with either somewhere below.
        output: where the comparison will go.
        reference: (part of) the name of the model that differences are to; None for the best by each measure.

    Raises:
        AdammsError: a reference that no model or several are called.
    """
    runs, problems = find(folders)
    groups: dict[object, list[Row]] = {}
    for row in named([*_models(runs), *_parents(runs)]):
        groups.setdefault(row.scores.key if row.scores else None, []).append(row)
    measured = [_in_one_unit(rows) for key, rows in groups.items() if key is not None]
    scored = [own for rows in measured for own in _by_examples(rows)]
    told = _measures(scored)
    made = [_group(name, own) for name, own in zip(told, scored, strict=True)]
    if None in groups:
        made.append(Group("", tuple(groups[None])))
    if reference is not None:
        made = _with_reference(made, reference)
    searched = [Row("", run) for run in runs if run.found.selection is not None]
    searches = tuple((row.name, row.run) for row in named(searched))
    return Comparison(output, runs, tuple(made), searches, problems)


def _in_one_unit(rows: list[Row]) -> list[Row]:
    """All in percent, or else, where lmms-eval has left samples of some only, all in the metric's unit."""
    if all(row.scores and row.scores.percent for row in rows):
        return rows
    return [replace(row, scores=row.scores and row.scores.in_own_unit()) for row in rows]


def _by_examples(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by the examples of their scores, if some model was measured on several sets of them."""
    makers = [id(row.made) for row in rows if row.made]
    if len(set(makers)) == len(makers):
        return [list(rows)]
    sets: list[list[Row]] = []
    for row in rows:
        alike = (s for s in sets if row.scores and s[0].scores and not row.scores.incomparable(s[0].scores))
        own = next(alike, None)
        if own is None:
            sets.append([row])
        else:
            own.append(row)
    return sets


def _models(runs: Sequence[FoundRun]) -> Iterator[Row]:
    """Every model that was written or chosen, with each of its scores, then those only evaluated."""
    makers = [run for run in runs if run.result is not None and run.mode in ("search", "merge")]
    others = [run for run in runs if run.result is not None and run.mode not in ("search", "merge")]
    evaluations = [(run, measured) for run in others for measured in of_evaluation(run)]
    paired = set[int]()
    for maker in makers:
        own = [(run, m) for run, m in evaluations if _same_folder(run, maker)]
        paired |= {id(run) for run, _ in own}
        if not own:
            alike = [(run, m) for run, m in evaluations if _same_weights(run, maker)]
            paired |= {id(run) for run, _ in alike}
            own = [each for n, each in enumerate(alike) if not any(_again(each, e) for e in alike[:n])]
        alone = [(maker, measured) for measured in of_evaluation(maker)]  # of lmms-eval
        if found := of_search(maker):
            # Scores on the same examples by an evaluation of its own say the same.
            again = any(_same(m, found[0]) for _, m in own)
            alone += [] if again else [(maker, found[0])]
        yield from (Row("", maker, run, measured) for run, measured in (*alone, *own))
        if not alone and not own:
            yield Row("", maker)
    yield from (Row("", None, run, measured) for run, measured in evaluations if id(run) not in paired)


def _again(one: tuple[FoundRun, Measured], other: tuple[FoundRun, Measured]) -> bool:
    """Whether two evaluations of the same weights are the same evaluation."""
    return _same(one[1], other[1]) and typed(one[0]) == typed(other[0])


def _same(one: Measured, other: Measured) -> bool:
    """Whether the same was measured on the same examples."""
    return one.key == other.key and not one.incomparable(other)


def _equal(one: Measured, other: Measured) -> bool:
    """Whether the same was found on the same examples."""
    return one.key == other.key and one.scores == other.scores and not one.asks_otherwise(other)


def _same_folder(run: FoundRun, maker: FoundRun) -> bool:
    """Whether it has evaluated what the maker wrote, where that has not been replaced by other weights."""
    place = run.found.evaluated
    if place is None or maker.model is None or place.expanduser().resolve() != maker.model:
        return False
    mine, theirs = _fingerprint(run), _fingerprint(maker)
    return not mine or not theirs or mine == theirs


def _same_weights(run: FoundRun, maker: FoundRun) -> bool:
    return bool(_fingerprint(run)) and _fingerprint(run) == _fingerprint(maker)


def _fingerprint(run: FoundRun) -> str:
    merged = run.found.hyperparameters
    return merged.fingerprint if merged else ""


def _parents(runs: Sequence[FoundRun]) -> Iterator[Row]:
    """The target and the donors, each once for all searches that give it the same scores."""
    seen: list[tuple[str, Measured]] = []
    for run in runs:
        found = of_search(run) if run.result is not None else None
        for name, measured in found[1].items() if found else ():
            called = f"{name.removeprefix('the ')} alone"
            if not any(called == other and _equal(measured, same) for other, same in seen):
                seen.append((called, measured))
                yield Row(called, None, run, measured, parent=True)


def _measures(groups: Sequence[Sequence[Row]]) -> list[str]:
    """The measures' names; where some are the same, with how many examples, the tasks, or whose scores."""
    found = [
        (each, group[0].run if group[0].scored is None else group[0].scored)
        for group in groups
        if (each := group[0].scores)
    ]
    counted = [f"{each.title} on {each.examples} examples" for each, _ in found]
    ways = [
        [each.title for each, _ in found],
        counted,
        [f"{each.title} of {', '.join(each.scores.tasks)}" for each, _ in found],
        [f"{name}, {SCORED.get(run.mode, run.mode)}" for name, (_, run) in zip(counted, found, strict=True)],
        [f"{name}, by {run.place}" for name, (_, run) in zip(counted, found, strict=True)],
    ]
    return [
        next((names[place] for names in ways if names.count(names[place]) == 1), counted[place])
        for place in range(len(found))
    ]


def _group(measure: str, rows: Sequence[Row]) -> Group:
    sign = 1 if rows[0].scores and rows[0].scores.less_is_better else -1
    ranked = tuple(sorted(told_apart(rows), key=lambda row: sign * mean(row)))
    return Group(measure, ranked, ranked[0])


def _with_reference(groups: Sequence[Group], reference: str) -> list[Group]:
    """With differences to the model of this name, or the only one whose name has it as a part."""
    made, names = list[Group](), list[str]()
    for group in groups:
        rows = group.rows if group.reference else ()
        found = [row for row in rows if row.name == reference] or [
            row for row in rows if reference in row.name
        ]
        names += [row.name for row in rows]
        made.append(replace(group, reference=found[0]) if len(found) == 1 else group)
    if all(new is old for new, old in zip(made, groups, strict=True)):
        listed = ", ".join(dict.fromkeys(names))
        raise AdammsError(f"mode.reference={reference}: not the name of one model; there are: {listed}")
    return made
