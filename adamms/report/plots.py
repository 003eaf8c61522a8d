"""Pictures for the report: difference curves against accuracy, and who wins the bootstrap.

With `heatmap` and `grid_map` the only module that imports matplotlib, without pyplot: figures are plain
objects here, and the same result gives the same bytes. Just over 300 lines: the
pictures share one style and its helpers. Colours: Okabe and Ito's, safe for the colour-blind.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import ALPHA, Candidate
from adamms.merge.candidate import short as short_key
from adamms.report import words
from adamms.report.result import RunResult, score_on
from adamms.search.choice import Choice

BLUE, VERMILLION, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#222222", "#777777"
PARENTS = ("#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
# A line across: several coefficients have no place on the axis of one.
SEVERAL: dict[str, Any] = {"color": GREEN, "linestyle": "-.", "linewidth": 1.6}
ACROSS = 4  # small multiples side by side
DPI = 120


@dataclass(frozen=True)
class Box:
    """Where a panel lies, in inches from the top left corner."""

    left: float
    top: float
    width: float
    height: float


class Sheet:
    """A figure with panels at given places and one legend below them.

    Laid out by hand: matplotlib's own layout engines do not give the same bytes every time.

    Args:
        width: inches.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self.figure = Figure()
        self._placed: list[tuple[Any, Box]] = []

    def add(self, box: Box, sharex: Any = None) -> Any:
        """A new panel."""
        axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0), sharex=sharex)
        self._placed.append((axes, box))
        return axes

    def finish(self, height: float) -> Figure:
        """Put everything in its place: the panels in `height` inches, the legend below."""
        found: dict[str, Any] = {}
        for axes, _ in self._placed:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                found.setdefault(label, handle)
        column = 0.7 + 0.08 * max(map(len, found), default=0)  # inches
        columns = max(1, min(4, int(self.width / column)))
        total = height + (0.19 * -(-len(found) // columns) + 0.15 if found else 0.0)
        self.figure.set_size_inches(self.width, total)
        for axes, box in self._placed:
            bottom = 1 - (box.top + box.height) / total
            axes.set_position((box.left / self.width, bottom, box.width / self.width, box.height / total))
        if found:
            handles, labels = list(found.values()), list(found)
            self.figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
        return self.figure


def draw(folder: Path, result: RunResult) -> list[Path]:
    """Write the pictures that the result has data for into `folder`, and return their paths."""
    pictures: list[tuple[str, Figure]] = []
    with style():
        if result.axis is not None:
            pictures.append(("overall.png", overall(result)))
            if len(result.tasks) > 1:
                pictures.append(("tasks.png", per_task(result)))
        if result.selection is not None:
            pictures.append(("confidence.png", confidence(result)))
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in pictures:
            figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
    return [folder / name for name, _ in pictures]


def overall(result: RunResult) -> Figure:
    """Mean accuracy above, D over all examples below, on the same axis."""
    sheet = Sheet(8.0)
    height = 5.0 if result.evaluation else 2.2
    axes = _panels(sheet, Box(0.75, 0.4, 7.05, height), result, None)
    axes[0].set_title(f"{short(result.title, 60)}: all tasks", fontweight="bold")
    _name_axes(axes, result, f"mean score ({result.unit})", "D (answers)", _axis_name(result))
    return sheet.finish(height + 0.95)


def per_task(result: RunResult) -> Figure:
    """The same for every task, as small multiples whose scales have equal spans."""
    across = min(ACROSS, len(result.tasks))
    sheet = Sheet(max(5.0, 3.1 * across))
    width, height = sheet.width / across, 3.4 if result.evaluation else 2.2
    for index, task in enumerate(result.tasks):
        down, right = divmod(index, across)
        box = Box(right * width + 0.6, down * height + 0.35, width - 0.75, height - 0.85)
        axes = _panels(sheet, box, result, task)
        choice = result.choice(task)
        if axes:
            title = f"{short(task, 20)} (chosen: {result.label(choice.candidate)})" if choice else short(task)
            axes[0].set_title(title, fontweight="bold", fontsize="medium")
        _name_axes(axes, result, f"score ({result.unit})", "D", words.noun(result.grid))
    _equal_spans(sheet.figure, percent=result.unit == "%")
    return sheet.finish(height * -(-len(result.tasks) // across))


def confidence(result: RunResult) -> Figure:
    """How often every candidate wins the bootstrap, per task and over all: darker is more often."""
    assert result.selection is not None
    named: list[tuple[str, Choice]] = [
        *result.selection.tasks.items(),
        ("ALL TASKS", result.selection.overall),
    ]
    grid = [c for c in result.candidates if any(c in choice.wins for _, choice in named)]
    wins = np.array(
        [[choice.wins.get(c, 0.0) for c in grid] for _, choice in named]
    )  # (tasks + 1, candidates)
    names = [short(name) for name, _ in named]
    labels = 0.5 + 0.085 * max(map(len, names))  # inches
    ticks = list(map(result.heading, grid))
    below = 0.55 if result.axis else 0.2 + 0.072 * max(map(len, ticks))
    size = (
        max(6.5 if result.axis == ALPHA else labels + 6.3, labels + 0.62 * len(grid)),
        0.75 + below + 0.36 * len(named),
    )
    sheet = Sheet(size[0])
    axes = sheet.add(Box(labels, 0.4, size[0] - labels - 0.15, size[1] - 0.4 - below))
    axes.imshow(wins, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, (_, choice) in enumerate(named):
        for x, candidate in enumerate(grid):
            chosen = candidate == choice.candidate
            if wins[y, x] >= 0.005 or chosen:
                axes.text(
                    x,
                    y,
                    words.share(wins[y, x]),
                    ha="center",
                    va="center",
                    color="white" if wins[y, x] > 0.55 else BLACK,
                    fontweight="bold" if chosen else "normal",
                )
            if chosen:
                axes.add_patch(
                    Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2)
                )
    axes.set_xticks(range(len(grid)), ticks, rotation=0 if result.axis else 90)
    axes.set_yticks(range(len(named)), names)
    axes.axhline(len(named) - 1.5, color=GREY, linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(_axis_name(result))
    noun = words.noun(result.candidates)
    axes.set_title(f"Share of bootstrap resamples that each {noun} wins (framed: the choice)", loc="left")
    return sheet.finish(size[1])


def _panels(sheet: Sheet, box: Box, result: RunResult, task: str | None) -> list[Any]:
    """Draw one task, or with None all: scores above if there are any, D below if there is a choice."""
    choice = result.choice(task)
    rows = (["scores"] if result.evaluation else []) + (["D"] if choice else [])
    gap, left = 0.12, box.height
    panels: list[Any] = []
    for row in rows:
        height = left if row == rows[-1] else 0.68 * box.height
        part = Box(box.left, box.top + box.height - left, box.width, height)
        axes = sheet.add(part, sharex=panels[0] if panels else None)
        axes.set_label(row)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=row == rows[-1])
        if choice is not None and choice.candidate != result.several:
            axes.axvline(_position(choice.candidate, result), color=GREEN, linewidth=5, alpha=0.25, zorder=0)
        panels.append(axes)
        left -= height + gap
    if result.evaluation:
        _draw_scores(panels[0], result, task)
    if choice is not None:
        _draw_differences(panels[-1], result, choice, labelled=result.evaluation is not None)
    if panels:
        values = [_position(candidate, result) for candidate in result.grid]
        margin = 0.03 * (values[-1] - values[0] or 1)
        panels[0].set_xlim(values[0] - margin, values[-1] + margin)
    return panels


def _draw_scores(axes: Any, result: RunResult, task: str | None) -> None:
    assert result.evaluation is not None

    def named(label: str, value: float) -> str:
        return label if task else f"{label}: {value:.1f}"

    base = result.target_score(task)
    if base is not None:
        axes.axhline(
            base, color=BLACK, linestyle=(0, (1, 1.5)), linewidth=1.3, label=named("target alone", base)
        )
    for index, (name, found) in enumerate(result.evaluation.donors.items()):
        value, colour = score_on(found, task), PARENTS[index % len(PARENTS)]
        if value is not None:
            label = named(f"donor {short(name)} alone", value)
            axes.axhline(value, color=colour, linestyle=(0, (4, 1.5, 1, 1.5)), linewidth=1.5, label=label)
    line = {"color": GREY, "linestyle": "--", "marker": "", "label": "control, no donor"}
    _curve(axes, result, result.evaluation.control, task, **line)
    _curve(
        axes, result, result.evaluation.candidates, task, color=BLUE, marker="o", markersize=4, label="merged"
    )
    oracle, choice = result.oracle(task), result.choice(task)
    best = result.score(oracle, task)
    several = result.score(result.several, task)
    if several is not None:
        axes.axhline(several, label=named("several coefficients", several), **SEVERAL)
    if oracle not in (None, result.several) and best is not None:
        label = named("oracle (best by labels)", best)
        axes.plot(_position(oracle, result), best, color=PARENTS[1], marker="*", markersize=13, zorder=4,
                  markeredgecolor=BLACK, markeredgewidth=0.7, linestyle="", label=label)  # fmt: skip
    own = result.score(choice.candidate if choice else None, task)
    if choice is not None and choice.candidate != result.several and own is not None:
        label = named("chosen without labels", own)
        axes.plot(_position(choice.candidate, result), own, color="none", marker="o", markersize=10,
                  markeredgecolor=GREEN, markeredgewidth=2, linestyle="", zorder=5, label=label)  # fmt: skip
    axes.margins(y=0.08)


def _curve(
    axes: Any, result: RunResult, points: Mapping[Candidate, Scores], task: str | None, **line: Any
) -> None:
    """A line through the scores of those candidates that have one."""
    found = [(c, score_on(points[c], task)) for c in sorted(points) if c != result.several]
    known = [(_position(c, result), score) for c, score in found if score is not None]
    if known:
        axes.plot(*zip(*known, strict=True), linewidth=1.6, **line)


def _draw_differences(axes: Any, result: RunResult, choice: Choice, labelled: bool) -> None:
    along = {c: value for c, value in choice.differences.items() if c != result.several}
    winner = choice.candidate
    axes.plot([_position(c, result) for c in along], list(along.values()), color=VERMILLION, marker="s",
              markersize=3.5, linewidth=1.6, label=words.curve(choice))  # fmt: skip
    for candidate in choice.differences.keys() - along.keys():
        label = "_" if labelled else "several coefficients"
        axes.axhline(choice.differences[candidate], label=label, **SEVERAL)
    if winner in along:
        axes.plot(_position(winner, result), along[winner], color="none", marker="o", markersize=10,
                  markeredgecolor=GREEN, markeredgewidth=2, linestyle="",
                  label="_" if labelled else "chosen without labels")  # fmt: skip
    low, high = min(0.0, *choice.differences.values()), max(1.0, *choice.differences.values())
    axes.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))


def _position(candidate: Candidate, result: RunResult) -> float:
    """Where it is on the only axis."""
    assert result.axis is not None
    return candidate.settings[result.axis]


def _axis_name(result: RunResult) -> str:
    if result.axis == ALPHA:
        return "alpha, the donors' share"
    return "" if result.axis is None else short_key(result.axis)


def _name_axes(panels: list[Any], result: RunResult, scores: str, differences: str, alpha: str) -> None:
    """Name the axes of one task's panels."""
    for axes in panels:
        axes.set_ylabel(scores if axes.get_label() == "scores" else differences)
    if panels:
        panels[-1].set_xlabel(alpha)


def _equal_spans(figure: Any, percent: bool) -> None:
    """Let a step be as high in one task's panel as in another's: equal spans for scores, one scale for D."""
    panels = [axes for axes in figure.get_axes() if axes.get_label() == "scores"]
    limits = [axes.get_ylim() for axes in panels]
    span = 1.1 * max((high - low for low, high in limits), default=0.0)
    for axes, (low, high) in zip(panels, limits, strict=True):
        bottom = (low + high - span) / 2
        if percent:  # leave out what no score can reach, but for the room that a marker takes
            bottom = max(-0.06 * span, min(bottom, 100 - 0.94 * span))
        axes.set_ylim(bottom, bottom + span)
    panels = [axes for axes in figure.get_axes() if axes.get_label() == "D"]
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def short(name: str, length: int = 24) -> str:
    """A name as a label: on one line, cut, and with dollars that are not taken for formulas."""
    name = words.printable(name)
    return (name if len(name) <= length else name[: length - 3] + "...").replace("$", r"\$")


def style() -> AbstractContextManager[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says."""
    return mpl.rc_context(dict(mpl.rcParamsDefault) | {"font.size": 9, "axes.axisbelow": True})
