"""Tables whose cells have a shade: who wins the resamples, D over two axes, distances by layer and role.

Plain data for the template; the style sheet has eleven shades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log

from adamms.mapping.checks.verification import Check, Verification
from adamms.merge.candidate import axes_of, short
from adamms.report import words
from adamms.report.grid_surfaces import Quantity, quantities, surface
from adamms.report.result import RunResult

SHADES = 10  # the darkest; 0 is the page's own colour
MOST_ROLES = 60  # per model; where names say nothing of layers, every tensor is a role of its own
LEAST_DISTANCE = 1e-4  # where shades begin; equal tensors are at 0
DENSE = 16  # columns from which cells are narrow and show no numbers


@dataclass(frozen=True)
class Square:
    """One cell: its text, its shade (None: no value), what it says when pointed at, and its frame.

    `frame` is "chosen", "problem" or "".
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
        columns, rows: their names.
        squares: row by row.
        least, most: what the lightest and the darkest shade mean.
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

    @property
    def dense(self) -> bool:
        return len(self.columns) > DENSE


def confidence(result: RunResult) -> Heat | None:
    """How often every candidate wins the bootstrap, per task and over all."""
    if result.selection is None:
        return None
    named = [*result.selection.tasks.items(), ("ALL TASKS", result.selection.overall)]
    grid = [c for c in result.candidates if any(c in choice.wins for _, choice in named)]
    columns = tuple(map(result.heading, grid))
    squares = []
    for task, choice in named:
        row = []
        for candidate, column in zip(grid, columns, strict=True):
            share = choice.wins.get(candidate, 0.0)
            chosen = candidate == choice.candidate
            said = f"{task}: {column} wins {100 * share:.1f}% of the resamples" + (", chosen" * chosen)
            text = words.share(share) if share >= 0.005 or chosen else ""
            row.append(Square(text, round(SHADES * share), said, "chosen" if chosen else ""))
        squares.append(tuple(row))
    return Heat(
        "Share of the bootstrap resamples that each candidate wins",
        *("task", words.noun(result.candidates), columns, tuple(task for task, _ in named), tuple(squares)),
        *("0%", "100%", "good", "Framed: the choice."),
    )


def surfaces(result: RunResult) -> list[Heat]:
    """D, and the mean score, over every two axes of the grid; none where there are fewer than two."""
    axes = {key: values for key, values in axes_of(result.candidates).items() if len(values) > 1}
    choice = result.choice(None)
    found = []
    for pair in combinations(axes, 2):
        columns, rows = ([f"{value:.10g}" for value in axes[key]] for key in pair)
        chosen = None
        if choice is not None:
            x, y = (axes[key].index(choice.candidate.settings[key]) for key in pair)
            chosen = (y, x)
        for quantity in quantities(result):
            values = surface(quantity, axes, pair).tolist()
            rest = ", the best of the other axes" if len(axes) > 2 else ""
            names = (short(pair[1]), short(pair[0]), tuple(columns), tuple(rows))
            if any(value == value for row in values for value in row):
                found.append(_surface(quantity, values, (quantity.name + rest, *names), chosen))
    return found


def _surface(
    quantity: Quantity,
    values: list[list[float]],
    names: tuple[str, str, str, tuple[str, ...], tuple[str, ...]],
    chosen: tuple[int, int] | None,
) -> Heat:
    """One quantity over two axes; nan where nothing was tried."""
    known = [value for row in values for value in row if value == value]
    # Where less is better, less is darker.
    light, dark = min(known), max(known)
    if quantity.kind == "difference":
        light, dark = dark, light
    _, rows_are, columns_are, columns, rows = names

    def square(y: int, x: int) -> Square:
        value, where = values[y][x], f"{columns_are}={columns[x]}, {rows_are}={rows[y]}"
        if value != value:
            return Square("-", None, f"{where}: none")
        shade = round(SHADES * (value - light) / ((dark - light) or 1.0))
        text = quantity.words(value)
        return Square(text, shade, f"{where}: {text}", "chosen" if (y, x) == chosen else "")

    squares = tuple(tuple(square(y, x) for x in range(len(columns))) for y in range(len(rows)))
    ends = (quantity.words(light), quantity.words(dark))
    return Heat(*names, squares, *ends, quantity.kind, "Framed: the choice.")


def distances(checks: Verification) -> list[Heat]:
    """For each model how far its tensors are from the target's: roles x layers, one scale for all models."""
    known = [c.distance for c in checks.checks if c.distance is not None and c.distance > 0]
    low = max(LEAST_DISTANCE, min(known, default=LEAST_DISTANCE))
    high = max(known, default=1.0)
    sources = dict.fromkeys(check.source for check in checks.checks)
    return [
        _distances(source, [c for c in checks.checks if c.source == source], low, max(high, 2 * low))
        for source in sources
    ]


def _distances(source: str, checks: Sequence[Check], low: float, high: float) -> Heat:
    everything = list(dict.fromkeys(check.role for check in checks))
    farthest: dict[str, tuple[bool, float]] = {}
    for check in checks:
        own = (bool(check.problem), check.distance or 0.0)
        farthest[check.role] = max(farthest.get(check.role, own), own)
    shown = set(sorted(everything, key=lambda role: farthest[role], reverse=True)[:MOST_ROLES])
    outside = {check.role for check in checks if check.layer is None}
    roles = sorted((role for role in everything if role in shown), key=lambda role: role in outside)
    layers: list[int | None] = [*sorted({c.layer for c in checks if c.layer is not None})]
    layers += [None] if any(check.layer is None and check.role in shown for check in checks) else []
    cells: dict[tuple[str, int | None], list[Check]] = {}
    for check in checks:
        cells.setdefault((check.role, check.layer), []).append(check)

    def square(role: str, layer: int | None) -> Square:
        mine = cells.get((role, layer), [])
        if not mine:
            return Square("", None, f"{role}: no tensor")
        worst = max(mine, key=lambda check: (bool(check.problem), check.distance or 0.0))
        frame = "problem" if worst.problem else ""
        if worst.distance is None:
            return Square("-", None, _said(worst), frame)
        place = log(max(worst.distance, low) / low) / log(high / low)
        return Square(_number(worst.distance), round(SHADES * place), _said(worst), frame)

    who = "the ancestor" if source == "ancestor" else f"donor {source}"
    left_out = len(everything) - len(roles)
    return Heat(
        f"{who}: relative distance from the target",
        *("role", "layer", tuple("none" if layer is None else str(layer) for layer in layers), tuple(roles)),
        tuple(tuple(square(role, layer) for layer in layers) for role in roles),
        *(_number(low), _number(high), "distance"),
        f"{len(roles)} roles, those with problems and the farthest; {left_out} others are left out."
        if left_out
        else "",
    )


def _said(check: Check) -> str:
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
    """Three decimals, without a zero before the point where there is no room for more."""
    return f"{value:.2g}" if abs(value) < 0.01 else f"{value:.2f}"
