"""Curves as coordinates of an SVG picture: scores above, D below, with what to say at every candidate.

Geometry only: colours and sizes of letters are the style sheet's, the elements the template's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import ClassVar

LEFT, RIGHT, TOP, BELOW, GAP = 66.0, 14.0, 16.0, 58.0, 18.0
TICK = 42.0  # room for a name along x; of more candidates some are not written


@dataclass(frozen=True)
class Series:
    """A curve, or with one point and `across` a line from side to side.

    Args:
        name: in the legend and beside its values.
        kind: its class in the style sheet.
        points: (x, y), x increasing.
        across: whether it is the same at every x.
        band: (x, low, high) around it, where that is known.
    """

    name: str
    kind: str
    points: tuple[tuple[float, float], ...]
    across: bool = False
    band: tuple[tuple[float, float, float], ...] = ()

    def at(self, x: float) -> float | None:
        """Its value there; None where it has none."""
        if self.across:
            return self.points[0][1]
        return next((y for place, y in self.points if abs(place - x) < 1e-9), None)

    def said(self, x: float, digits: int) -> str:
        """Its value there, with the ends of its band; "" where it has none."""
        value = self.at(x)
        ends = next(((low, high) for place, low, high in self.band if abs(place - x) < 1e-9), None)
        if value is None or ends is None:
            return "" if value is None else f"{value:.{digits}f}"
        return f"{value:.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


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
    """A panel in picture coordinates; a line is the class of its curve, and its points; so is a band."""

    label: str
    top: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    bands: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    across: tuple[tuple[str, float], ...]
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class Chart:
    """A picture: panels below each other over one axis.

    Args:
        title: what it shows, for people who do not see it, too.
        axis: name of x.
        noun: what x is, in front of its value: "alpha".
        places: (x, name) of the candidates, x increasing.
        width: of the picture.
        heights: of the panels, as many as there are.
        data: the panels.
        choice: x of the choice; None without one.
        alike: panels of other charts; those with the same label get the same axis.
    """

    title: str
    axis: str
    noun: str
    places: Sequence[tuple[float, str]]
    width: float
    heights: Sequence[float]
    data: Sequence[Panel]
    choice: float | None = None
    alike: Sequence[Panel] = ()
    left: ClassVar[float] = LEFT

    def x(self, value: float) -> float:
        low, high = self.places[0][0], self.places[-1][0]
        room = self.width - LEFT - RIGHT
        inset = min(14.0, room / 20)
        return round(LEFT + inset + (value - low) / ((high - low) or 1.0) * (room - 2 * inset), 1)

    @property
    def right(self) -> float:
        return self.width - RIGHT

    @property
    def height(self) -> float:
        return self.panels[-1].bottom + BELOW

    @property
    def chosen(self) -> float | None:
        return None if self.choice is None else self.x(self.choice)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(x, text) below the last panel."""
        step = -(-len(self.places) // max(2, int((self.right - LEFT) / TICK)))
        return [(self.x(value), name) for value, name in self.places[::step]]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """(class, name) of the curves, each once."""
        return list(dict.fromkeys((one.kind, one.name) for panel in self.data for one in panel.series))

    @property
    def panels(self) -> list[Drawn]:
        drawn, top = [], TOP
        for panel, height in zip(self.data, self.heights, strict=True):
            drawn.append(self._drawn(panel, top, top + height))
            top += height + GAP
        return drawn

    def _drawn(self, panel: Panel, top: float, bottom: float) -> Drawn:
        low, high = _limits([panel, *(other for other in self.alike if other.label == panel.label)])

        def y(value: float) -> float:
            return round(bottom - (value - low) / (high - low) * (bottom - top), 1)

        def line(series: Series) -> tuple[str, tuple[tuple[float, float], ...]]:
            return series.kind, tuple((self.x(x), y(value)) for x, value in series.points)

        def band(series: Series) -> tuple[str, tuple[tuple[float, float], ...]]:
            low = [(self.x(x), y(least)) for x, least, _ in series.band]
            return series.kind, (*low, *((self.x(x), y(most)) for x, _, most in reversed(series.band)))

        return Drawn(
            label=panel.label,
            top=top,
            bottom=bottom,
            ticks=tuple((y(value), f"{value:g}") for value in round_values(low, high)),
            lines=tuple(line(series) for series in panel.series if not series.across),
            bands=tuple(band(series) for series in panel.series if series.band),
            across=tuple((one.kind, y(one.points[0][1])) for one in panel.series if one.across),
            spots=tuple(Spot(spot.kind, self.x(spot.x), y(spot.y)) for spot in panel.spots),
        )

    @property
    def stops(self) -> list[Stop]:
        """For every candidate the strip of the picture that is nearer to it than to any other."""
        centres = [self.x(value) for value, _ in self.places]
        edges = [LEFT, *((a + b) / 2 for a, b in pairwise(centres)), self.right]
        told = [(panel, series) for panel in self.data if panel.told for series in panel.series]
        stops = []
        for (value, name), x, (left, right) in zip(self.places, centres, pairwise(edges), strict=True):
            found = [(series, series.said(value, panel.digits)) for panel, series in told]
            rows = [(series.kind, series.name, said) for series, said in found if said]
            heading = f"{self.noun} {name}".strip()
            stops.append(Stop(x, round(left, 1), round(right - left, 1), heading, tuple(rows)))
        return stops


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """The ends of an axis on which all values of the panels can be seen; not much beyond their ceiling."""
    drawn = [series for panel in panels for series in panel.series]
    values = [y for series in drawn for _, y in series.points]
    values += [end for series in drawn for _, low, high in series.band for end in (low, high)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * ((high - low) or 1.0)
    bottom, top = low - room, high + room
    if panels[0].ceiling is not None:
        top = min(top, panels[0].ceiling + room / 2)
    if panels[0].from_zero:
        bottom = -0.06 * (top or 1.0)
    return bottom, max(top, bottom + 1)


def round_values(low: float, high: float, about: int = 4) -> list[float]:
    """Some round numbers between two, evenly spaced."""
    span = (high - low) or 1.0
    power = 10.0 ** floor(log10(span / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= about + 1)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
