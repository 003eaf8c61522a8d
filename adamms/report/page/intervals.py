"""Differences to a reference with their intervals, as coordinates of a picture: one line per model.

Geometry only, as `charts`. What is told apart from the reference is filled, what is not is hollow.
"""

from dataclasses import dataclass
from math import ceil, floor, log10

from adamms.report.compare import comparison_tables
from adamms.report.compare.comparison import Group

LINE, TOP, BELOW = 40.0, 6.0, 24.0
LEFT, RIGHT, WIDTH = 22.0, 358.0, 380.0
STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Bar:
    """One model's difference.

    Args:
        name: the model's.
        y: of its interval; its name is above.
        x: of the difference.
        ends: of its interval; None if it is not known.
        kind: "reference", "apart" or "level".
        words: what stands beside it.
    """

    name: str
    y: float
    x: float
    ends: tuple[float, float] | None
    kind: str
    words: str


@dataclass(frozen=True)
class Intervals:
    """The picture of one group.

    Args:
        title: above it.
        axis: what x is.
        height, bottom: of the picture, and where its axis is.
        ticks: (x, text).
        zero: x of no difference.
        bars: from above, the best first.
    """

    title: str
    axis: str
    height: float
    bottom: float
    zero: float
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]


def intervals(group: Group) -> Intervals:
    """Of a group with a reference and others."""
    gaps = {id(row): group.difference(row) for row in group.rows}
    values = [0.0]
    for gap in gaps.values():
        values += [] if gap is None else [gap.value, *(gap.interval or ())]
    bottom = TOP + LINE * len(group.rows)
    step = _step(max(values) - min(values))
    low, high = floor(min(values) / step) * step, ceil(max(values) / step) * step
    high = high if high > low else low + step

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (RIGHT - LEFT), 1)

    bars = []
    for place, row in enumerate(group.rows):
        gap = gaps[id(row)]
        value = gap.value if gap else 0.0
        ends = (x(gap.interval[0]), x(gap.interval[1])) if gap and gap.interval else None
        kind = "reference" if gap is None else "apart" if gap.told_apart else "level"
        y = TOP + LINE * (place + 1) - 10
        bars.append(Bar(row.name, y, x(value), ends, kind, comparison_tables.difference(group, row)))
    count = round((high - low) / step)
    ticks = tuple(
        (x(low + n * step), f"{low + n * step:+.4g}" if abs(low + n * step) > step / 9 else "0")
        for n in range(count + 1)
    )
    assert group.reference is not None
    axis = f"points above {group.reference.name}"
    return Intervals(f"By {group.measure}", axis, bottom + BELOW, bottom, x(0.0), ticks, tuple(bars))


def _step(span: float) -> float:
    """Between ticks: about six of them."""
    rough = max(span, 1e-6) / 5
    power = 10.0 ** floor(log10(rough))
    return next(step * power for step in STEPS if step * power >= rough - 1e-12)
