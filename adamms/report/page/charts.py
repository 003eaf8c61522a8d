"""Curves as coordinates of an SVG picture: scores above, D below, with what to say at every candidate.

Geometry only: colours and sizes of letters are the style sheet's, the elements the template's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

LEFT, RIGHT, TOP, BELOW, GAP = 62.0, 14.0, 16.0, 52.0, 18.0
TICK = 42.0  # room for a name along x; of more candidates some are not written


@dataclass(frozen=True)
class Series:
    """A curve, or with one point and `across` a line from side to side.

    Args:
        name: in the legend and beside its values.
        kind: its class in the style sheet.
        points: (x, y), x increasing.
        across: whether it is the same at every x.
    """

    name: str
    kind: str
    points: tuple[tuple[float, float], ...]
    across: bool = False

    def at(self, x: float) -> float | None:
        """Its value there; None where it has none."""
        if self.across:
            return self.points[0][1]
        return next((y for place, y in self.points if abs(place - x) < 1e-9), None)


@dataclass(frozen=True)
class Spot:
    """A marked point: `kind` is "chosen" or "oracle"."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """One quantity over x.

    Args:
        label: of its axis.
        series: what is drawn.
        spots: what is marked.
        ceiling: what no value exceeds, e.g. 100 of percentages.
        from_zero: whether its axis begins at 0.
        digits: after the point of its values.
        told: whether its values are said at the stops.
    """

    label: str
    series: tuple[Series, ...]
    spots: tuple[Spot, ...] = ()
    ceiling: float | None = None
    from_zero: bool = False
    digits: int = 1
    told: bool = True


@dataclass(frozen=True)
class Stop:
    """What is said at one x: a heading, and (class, name, value) of every series that has one there."""

    x: float
    left: float
    width: float
    heading: str
    rows: tuple[tuple[str, str, str], ...]

    @property
    def words(self) -> str:
        return f"{self.heading}: " + ", ".join(f"{name} {value}" for _, name, value in self.rows)


@dataclass(frozen=True)
class Drawn:
    """A panel in picture coordinates."""

    label: str
    top: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[str, str], ...]
    dots: tuple[tuple[str, float, float], ...]
    across: tuple[tuple[str, float], ...]
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class Chart:
    """A whole picture.

    Args:
        title: what it shows, for people who do not see it, too.
        axis: name of x.
        width, height: of its coordinates.
        ticks: (x, text) below the last panel.
        chosen: x of the choice; None without one.
        legend: (class, name), each once.
    """

    title: str
    axis: str
    width: float
    height: float
    left: float
    right: float
    panels: tuple[Drawn, ...]
    ticks: tuple[tuple[float, str], ...]
    stops: tuple[Stop, ...]
    chosen: float | None
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Frame:
    """Where panels go.

    Args:
        width: of the picture.
        heights: of the panels, as many as there are.
        places: (x, name) of the candidates, x increasing.
        axis: name of x.
        chosen: x of the choice; None without one.
    """

    width: float
    heights: Sequence[float]
    places: Sequence[tuple[float, str]]
    axis: str
    chosen: float | None = None

    def x(self, value: float) -> float:
        low, high = self.places[0][0], self.places[-1][0]
        room = self.width - LEFT - RIGHT
        inset = min(14.0, room / 20)
        return round(LEFT + inset + (value - low) / ((high - low) or 1.0) * (room - 2 * inset), 1)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        most = max(2, int((self.width - LEFT - RIGHT) / TICK))
        step = -(-len(self.places) // most)
        return tuple((self.x(value), name) for value, name in self.places[::step])


def chart(title: str, frame: Frame, panels: Sequence[Panel], noun: str, alike: Sequence[Panel] = ()) -> Chart:
    """Lay the panels out below each other.

    Args:
        title: what it shows.
        frame: its size and its x axis.
        panels: as many as the frame has heights.
        noun: what x is, in front of its value: "alpha".
        alike: panels of other charts; those with the same label get the same axis.
    """
    drawn, top = [], TOP
    for panel, height in zip(panels, frame.heights, strict=True):
        ends = _limits([panel, *(other for other in alike if other.label == panel.label)])
        drawn.append(_drawn(panel, ends, frame, top, top + height))
        top += height + GAP
    legend = {(series.kind, series.name): None for panel in panels for series in panel.series}
    return Chart(
        title=title,
        axis=frame.axis,
        width=frame.width,
        height=top - GAP + BELOW,
        left=LEFT,
        right=frame.width - RIGHT,
        panels=tuple(drawn),
        ticks=frame.ticks,
        stops=_stops(frame, panels, noun),
        chosen=None if frame.chosen is None else frame.x(frame.chosen),
        legend=tuple(legend),
    )


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """The ends of an axis on which all values of the panels can be seen; not much beyond their ceiling."""
    values = [y for panel in panels for series in panel.series for _, y in series.points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * ((high - low) or 1.0)
    bottom, top = low - room, high + room
    if panels[0].ceiling is not None:
        top = min(top, panels[0].ceiling + room / 2)
    if panels[0].from_zero:
        bottom = -0.06 * (top or 1.0)
    return bottom, max(top, bottom + 1)


def _drawn(panel: Panel, ends: tuple[float, float], frame: Frame, top: float, bottom: float) -> Drawn:
    low, high = ends

    def y(value: float) -> float:
        return round(bottom - (value - low) / (high - low) * (bottom - top), 1)

    curves = [series for series in panel.series if not series.across]
    return Drawn(
        label=panel.label,
        top=top,
        bottom=bottom,
        ticks=tuple((y(value), f"{value:g}") for value in round_values(low, high)),
        lines=tuple(
            (series.kind, " ".join(f"{frame.x(x)},{y(value)}" for x, value in series.points))
            for series in curves
        ),
        dots=tuple((series.kind, frame.x(x), y(value)) for series in curves for x, value in series.points),
        across=tuple((series.kind, y(series.points[0][1])) for series in panel.series if series.across),
        spots=tuple(Spot(spot.kind, frame.x(spot.x), y(spot.y)) for spot in panel.spots),
    )


def _stops(frame: Frame, panels: Sequence[Panel], noun: str) -> tuple[Stop, ...]:
    """For every candidate the strip of the picture that is nearer to it than to any other."""
    centres = [frame.x(value) for value, _ in frame.places]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(centres)), frame.width - RIGHT]
    stops = []
    for index, (value, name) in enumerate(frame.places):
        rows = [
            (series.kind, series.name, f"{found:.{panel.digits}f}")
            for panel in panels
            if panel.told
            for series in panel.series
            if (found := series.at(value)) is not None
        ]
        width = round(edges[index + 1] - edges[index], 1)
        heading = f"{noun} {name}".strip()
        stops.append(Stop(centres[index], round(edges[index], 1), width, heading, tuple(rows)))
    return tuple(stops)


def round_values(low: float, high: float, about: int = 4) -> list[float]:
    """Some round numbers between two, evenly spaced."""
    span = (high - low) or 1.0
    power = 10.0 ** floor(log10(span / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= about + 1)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
