"""The curves of a run: scores by labels above D, over all tasks and for each.

Decides what is drawn; `charts` where.
"""

from collections.abc import Mapping, Sequence

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
    if result.evaluation is not None:
        name = f"mean score ({result.unit})" if task is None else f"score ({result.unit})"
        series = tuple(one for one in _scores(result, task) if one.points)
        ceiling = 100.0 if result.unit == "%" else None
        if series:
            panels.append(Panel(name, series, _spots(result, task), ceiling))
    if choice is not None:
        known = sorted(choice.differences.items())
        points = tuple((_x(c, result), value) for c, value in known if c != result.several)
        series = (Series(words.curve(choice), "d", points), *_beside(result, choice.differences))
        spots = _marked(result, {"chosen": choice.candidate}, choice.differences)
        whole = all(abs(value - round(value)) < 1e-9 for _, value in known)
        panels.append(Panel("D", series, spots, from_zero=True, digits=0 if whole else 2))
    return panels


def _scores(result: Result, task: str | None) -> list[Series]:
    evaluation = result.evaluation
    assert evaluation is not None
    start = _x(result.grid[0], result)

    def line(name: str, kind: str, value: float | None) -> Series:
        return Series(name, kind, () if value is None else ((start, value),), across=True)

    def curve(name: str, kind: str, control: bool) -> Series:
        found = evaluation.control if control else evaluation.candidates
        grid = [c for c in sorted(found) if c != result.several]
        scores = [(_x(c, result), found[c].on(task)) for c in grid]
        return Series(name, kind, tuple((x, score) for x, score in scores if score is not None))

    donors = [
        line(f"donor {name} alone", f"p{index % PARENTS}", found.on(task))
        for index, (name, found) in enumerate(evaluation.donors.items())
    ]
    return [
        line("target alone", "target", result.target_score(task)),
        *donors,
        curve("control, no donor", "control", control=True),
        curve("merged", "merged", control=False),
        *_beside(result, {c: result.score(c, task) for c in evaluation.candidates}),
    ]


def _beside(result: Result, values: Mapping[Candidate, float | None]) -> list[Series]:
    """The value of several coefficients, which have no place on the axis: a line across."""
    value = None if result.several is None else values.get(result.several)
    start = _x(result.grid[0], result)
    return (
        [] if value is None else [Series("several coefficients", "several", ((start, value),), across=True)]
    )


def _spots(result: Result, task: str | None) -> tuple[Spot, ...]:
    oracle, choice = result.oracle(task), result.choice(task)
    marked = {"oracle": oracle, "chosen": choice.candidate if choice else None}
    return _marked(result, marked, {c: result.score(c, task) for c in result.candidates})


def _marked(
    result: Result, marked: Mapping[str, Candidate | None], values: Mapping[Candidate, float | None]
) -> tuple[Spot, ...]:
    """A spot for every kind whose candidate is on the axis and has a value."""
    return tuple(
        Spot(kind, _x(candidate, result), value)
        for kind, candidate in marked.items()
        if candidate is not None
        and candidate != result.several
        and (value := values.get(candidate)) is not None
    )


def _chart(
    title: str,
    result: Result,
    task: str | None,
    panels: list[Panel],
    width: float,
    alike: Sequence[Panel] = (),
) -> Chart:
    choice = result.choice(task)
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
        None if choice is None or choice.candidate == result.several else _x(choice.candidate, result),
        alike,
    )


def _x(candidate: Candidate, result: Result) -> float:
    """Where it is on the only axis."""
    assert result.axis is not None
    return candidate.settings[result.axis]
