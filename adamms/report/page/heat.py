"""Tables whose cells have a shade: who wins the resamples, D over two axes, distances by layer and role.

Plain data for the template. The style sheet has the colours, eleven shades of each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log

from adamms.mapping.checks.distance import Distances, TensorDistance
from adamms.merge.candidate import Candidate, axes_of, short
from adamms.report import words
from adamms.report.plan_tables import farthest_roles
from adamms.report.result import Result

SHADES = 10  # the darkest; 0 is the page's own colour
LEAST_DISTANCE = 1e-4  # the lightest shade of a distance; equal tensors are at 0
FRAMED = "Framed: the choice."


@dataclass(frozen=True)
class Square:
    """One cell.

    Args:
        text: what stands in it.
        shade: 0 to SHADES; None where there is no value.
        words: what it says when it is pointed at.
        frame: "chosen", "problem" or "".
    """

    text: str
    shade: int | None
    words: str
    frame: str = ""


@dataclass(frozen=True)
class Heat:
    """A table of squares.

    Args:
        title: above it.
        corner: what the rows are.
        across: what the columns are.
        columns: their names.
        rows: their names.
        squares: row by row.
        least: what the lightest shade means.
        most: what the darkest shade means.
        kind: its colour in the style sheet: "good", "difference" or "distance".
        note: below it.
    """

    title: str
    corner: str
    across: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    squares: tuple[tuple[Square, ...], ...]
    least: str
    most: str
    kind: str
    note: str = ""


def confidence(result: Result) -> Heat | None:
    """How often every candidate wins the bootstrap, per task and over all; None without rivals."""
    if result.selection is None or len(result.selection.overall.wins) == 1:
        return None
    choices = {**result.selection.tasks, words.ALL_TASKS: result.selection.overall}
    grid = [c for c in result.candidates if any(c in choice.wins for choice in choices.values())]

    def square(task: str, candidate: Candidate) -> Square:
        share, chosen = choices[task].wins.get(candidate, 0.0), candidate == choices[task].candidate
        said = f"{task}: {result.heading(candidate)} wins {100 * share:.1f}% of the resamples"
        text = words.share(share) if share >= 0.005 or chosen else ""
        return Square(text, round(SHADES * share), said + ", chosen" * chosen, "chosen" if chosen else "")

    return Heat(
        title="Share of the bootstrap resamples that each candidate wins",
        corner="task",
        across=words.noun(result.candidates),
        columns=tuple(map(result.heading, grid)),
        rows=tuple(choices),
        squares=tuple(tuple(square(task, candidate) for candidate in grid) for task in choices),
        least="0%",
        most="100%",
        kind="good",
        note=FRAMED,
    )


def surfaces(result: Result) -> list[Heat]:
    """D, and the mean score, over every two axes of the grid; none where it has fewer than two."""
    axes = {key: values for key, values in axes_of(result.candidates).items() if len(values) > 1}
    choice, chosen = result.choice(None), result.winner(None)
    differences = choice.differences if choice else {}
    means = {c: scores.mean for c, scores in result.scored.candidates.items()}
    errors = {c: words.error(scores.estimate()) for c, scores in result.scored.candidates.items()}
    exact = {candidate: f" ± {error}" for candidate, error in errors.items() if error}
    intervals = choice.intervals if choice else {}
    between = {c: f", 95 % interval {low:g} to {high:g}" for c, (low, high) in intervals.items()}
    found = []
    for pair in combinations(axes, 2):
        rest = ", the best of the other axes" if len(axes) > 2 else ""
        two = {key: axes[key] for key in pair}
        if differences:
            name = f"D, all tasks{rest}"
            found.append(_surface(name, "difference", differences, two, chosen, words.difference, between))
        if means:
            name = f"mean {result.measure or 'score'} (%){rest}"
            found.append(_surface(name, "good", means, two, chosen, words.score, exact))
    return found


def _surface(
    title: str,
    kind: str,
    values: Mapping[Candidate, float],
    axes: Mapping[str, Sequence[float]],
    chosen: Candidate | None,
    text: Callable[[float], str],
    exactness: Mapping[Candidate, str],
) -> Heat:
    """One quantity over two axes: the best value over the other axes. Of "difference" less is better.

    Args:
        exactness: how exact a candidate's value is, for who points at it.
    """
    across, down = axes
    better = min if kind == "difference" else max
    worse = max if kind == "difference" else min
    best: dict[tuple[float, float], Candidate] = {}  # (value along `across`, along `down`) -> candidate
    for candidate in values:
        place = (candidate.settings[across], candidate.settings[down])
        best[place] = better(best.get(place, candidate), candidate, key=values.__getitem__)
    shown = [values[candidate] for candidate in best.values()]
    dark, light = better(shown), worse(shown)
    framed = (chosen.settings[across], chosen.settings[down]) if chosen else None

    def square(x: float, y: float) -> Square:
        where, candidate = f"{short(across)}={x:.10g}, {short(down)}={y:.10g}", best.get((x, y))
        if candidate is None:
            return Square("-", None, f"{where}: none")
        value = values[candidate]
        shade = round(SHADES * (value - light) / ((dark - light) or 1.0))
        said = f"{where}: {text(value)}{exactness.get(candidate, '')}"
        return Square(text(value), shade, said, "chosen" if (x, y) == framed else "")

    return Heat(
        title=title,
        corner=short(down),
        across=short(across),
        columns=tuple(f"{x:.10g}" for x in axes[across]),
        rows=tuple(f"{y:.10g}" for y in axes[down]),
        squares=tuple(tuple(square(x, y) for x in axes[across]) for y in axes[down]),
        least=text(light),
        most=text(dark),
        kind=kind,
        note=FRAMED,
    )


def distances(checks: Distances) -> list[Heat]:
    """For each model how far its tensors are from the target's: roles x layers, one scale for all models."""
    known = [c.distance for c in checks.tensors if c.distance is not None and c.distance > 0]
    low = max(LEAST_DISTANCE, min(known, default=LEAST_DISTANCE))
    high = max(known, default=1.0)
    sources = dict.fromkeys(check.source for check in checks.tensors)
    own = {source: [check for check in checks.tensors if check.source == source] for source in sources}
    return [_distances(source, own[source], low, max(high, 2 * low)) for source in sources]


def _distances(source: str, checks: Sequence[TensorDistance], low: float, high: float) -> Heat:
    roles = farthest_roles(checks)
    left_out = len({check.role for check in checks}) - len(roles)
    outside = {check.role for check in checks if check.layer is None}
    roles.sort(key=lambda role: role in outside)
    layers: list[int | None] = [*sorted({c.layer for c in checks if c.layer is not None})]
    layers += [None] if outside & set(roles) else []
    cells: dict[tuple[str, int | None], TensorDistance] = {}  # of several tensors, as experts, the worst
    for check in checks:
        place = (check.role, check.layer)
        cells[place] = max(cells.get(place, check), check, key=lambda c: (bool(c.problem), c.distance or 0.0))

    def square(role: str, layer: int | None) -> Square:
        worst = cells.get((role, layer))
        if worst is None:
            return Square("", None, f"{role}: no tensor")
        frame = "problem" if worst.problem else ""
        if worst.distance is None:
            return Square("-", None, _said(worst), frame)
        place = log(max(worst.distance, low) / low) / log(high / low)
        return Square(_number(worst.distance), round(SHADES * place), _said(worst), frame)

    who = "the ancestor" if source == "ancestor" else f"donor {source}"
    note = f"{len(roles)} roles, those with problems and the farthest; {left_out} others are left out."
    return Heat(
        title=f"{who}: relative distance from the target",
        corner="role",
        across="layer",
        columns=tuple("none" if layer is None else str(layer) for layer in layers),
        rows=tuple(roles),
        squares=tuple(tuple(square(role, layer) for layer in layers) for role in roles),
        least=_number(low),
        most=_number(high),
        kind="distance",
        note=note if left_out else "",
    )


def _said(check: TensorDistance) -> str:
    """All that was measured of one tensor."""
    numbers = {
        "distance": check.distance,
        "cosine": check.cosine,
        "target moved": check.target_moved,
        f"{check.source} moved": check.donor_moved,
    }
    said = [f"{name} {_number(value)}" for name, value in numbers.items() if value is not None]
    return f"{check.name}: " + ", ".join(said) + (f". {check.problem}" if check.problem else "")


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 0.01 else f"{value:.2f}"
