"""The curves of a run: scores by labels above D, over all tasks and for each.

Decides what is drawn; `charts` where.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import Candidate
from adamms.report import words
from adamms.report.page.charts import Chart, Panel, Series, Spot
from adamms.report.result import Result

WIDE, NARROW = 720.0, 340.0
PARENTS = 4  # colours of donors


def overall(result: Result) -> Chart | None:
    """Mean score and D over all tasks; None where candidates differ along several axes."""
    panels = _panels(result, None)
    return _chart("All tasks", result, None, panels, WIDE) if panels else None


def per_task(result: Result) -> list[Chart]:
    """The same for every task, all on the same scales; none for a single task."""
    found = {task: _panels(result, task) for task in result.tasks}
    alike = [panel for panels in found.values() for panel in panels]
    if len(found) < 2:
        return []
    return [_chart(task, result, task, own, NARROW, alike) for task, own in found.items() if own]


def _panels(result: Result, task: str | None) -> list[Panel]:
    """Scores if there are any, D if there is a choice; none without one axis to draw them along."""
    panels: list[Panel] = []
    choice = result.choice(task)
    if result.axis is None:
        return panels
    if series := _scores(result, task):
        name = f"{'mean ' if task is None else ''}{result.measure or 'score'} (%)"
        marked = {"oracle": result.oracle(task), "chosen": result.winner(task)}
        values = {candidate: result.score(candidate, task) for candidate in result.grid}
        panels.append(Panel(name, series, _spots(result, marked, values), 100.0))
    if choice is not None:
        known = choice.differences
        beside = known.get(result.several) if result.several else None
        series = (
            *_along(result, words.curve(choice), "d", known, choice.intervals),
            *_across(result, "several coefficients", "several", beside),
        )
        whole = all(abs(value - round(value)) < 1e-9 for value in known.values())
        spots = _spots(result, {"chosen": choice.candidate}, known)
        panels.append(Panel("D", series, spots, from_zero=True, digits=0 if whole else 2))
    return panels


def _scores(result: Result, task: str | None) -> tuple[Series, ...]:
    found, target = result.scored, result.target_scores
    donors = [
        _across(result, f"donor {name} alone", f"p{index % PARENTS}", scores.on(task), scores.estimate(task))
        for index, (name, scores) in enumerate(found.donors.items())
    ]
    control = {candidate: scores.on(task) for candidate, scores in found.control.items()}
    merged = {candidate: scores.on(task) for candidate, scores in found.candidates.items()}
    return (
        *_across(result, "target alone", "target", target.on(task), target.estimate(task)),
        *chain(*donors),
        *_along(result, "control, no donor", "control", control, _intervals(found.control, task)),
        *_along(result, "merged", "merged", merged, _intervals(found.candidates, task)),
        *_across(result, "several coefficients", "several", result.score(result.several, task)),
    )


def _along(
    result: Result,
    name: str,
    kind: str,
    values: Mapping[Candidate, float | None],
    intervals: Mapping[Candidate, tuple[float, float]] = MappingProxyType({}),
) -> list[Series]:
    """The curve of the values that are known, with its band; of several coefficients, on no axis, not."""
    known = {c: value for c, value in sorted(values.items()) if value is not None and c != result.several}
    points = tuple((_x(candidate, result), value) for candidate, value in known.items())
    band = tuple(
        (_x(candidate, result), *intervals[candidate]) for candidate in known if candidate in intervals
    )
    return [Series(name, kind, points, band=band)] if points else []


def _intervals(scored: Mapping[Candidate, Scores], task: str | None) -> dict[Candidate, tuple[float, float]]:
    """Those that are known."""
    found = {candidate: scores.estimate(task) for candidate, scores in scored.items()}
    return {c: one.interval for c, one in found.items() if one is not None and one.interval}


def _across(
    result: Result, name: str, kind: str, value: float | None, estimate: Estimate | None = None
) -> list[Series]:
    """A line across, if its value is known, with its interval at every candidate."""
    start, ends = _x(result.grid[0], result), None if estimate is None else estimate.interval
    band = tuple((_x(candidate, result), *ends) for candidate in result.grid) if ends else ()
    return [] if value is None else [Series(name, kind, ((start, value),), across=True, band=band)]


def _spots(
    result: Result, marked: Mapping[str, Candidate | None], values: Mapping[Candidate, float | None]
) -> tuple[Spot, ...]:
    """A spot for every kind whose candidate is on the axis and has a value."""
    found = {kind: c for kind, c in marked.items() if c is not None and c != result.several}
    places = [(kind, _x(candidate, result), values.get(candidate)) for kind, candidate in found.items()]
    return tuple(Spot(kind, x, y) for kind, x, y in places if y is not None)


def _chart(
    title: str,
    result: Result,
    task: str | None,
    panels: list[Panel],
    width: float,
    alike: Sequence[Panel] = (),
) -> Chart:
    winner = result.winner(task)
    large = width == WIDE
    heights = {1: [230.0 if large else 130.0], 2: [250.0, 110.0] if large else [130.0, 60.0]}[len(panels)]
    assert result.axis is not None
    return Chart(
        title,
        words.axis(result.axis),
        words.noun(result.grid),
        [(_x(c, result), c.value(result.axis)) for c in result.grid],
        width,
        heights,
        panels,
        None if winner is None or winner == result.several else _x(winner, result),
        alike,
    )


def _x(candidate: Candidate, result: Result) -> float:
    """Where it is on the only axis."""
    assert result.axis is not None
    return candidate.settings[result.axis]
