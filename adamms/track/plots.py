"""Pictures for the report: difference curves against accuracy, and who wins the bootstrap.

The only module that imports matplotlib, without pyplot: figures are plain objects here, and the
same result gives the same bytes. Colours are those of Okabe and Ito, safe for the colour-blind.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from adamms.engines.responses import Candidate
from adamms.evaluate.evaluation import Scores
from adamms.search.selection import Choice
from adamms.track import wording
from adamms.track.result import RunResult, score_on

BLUE, VERMILLION, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#222222", "#777777"
PARENTS = ("#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
ACROSS = 4  # small multiples side by side
DPI = 120


def draw(folder: Path, result: RunResult) -> list[Path]:
    """Write the pictures that the result has data for into `folder`, and return their paths."""
    pictures: list[tuple[str, Figure]] = []
    with _style():
        if result.selection is not None or result.evaluation is not None:
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
    """Mean accuracy above, D over all examples below, on the same alphas."""
    figure = Figure(figsize=(9.0, 5.2 if result.evaluation else 3.2), layout="constrained")
    _panels(figure, result, None)
    _axis_names(figure, result)
    figure.suptitle(f"{result.title}: all tasks", fontweight="bold")
    figure.legend(*_legend(figure), loc="outside right upper", frameon=False)
    return figure


def per_task(result: RunResult) -> Figure:
    """The same for every task, as small multiples on common axes."""
    down = -(-len(result.tasks) // ACROSS)
    across = min(ACROSS, len(result.tasks))
    height = (3.0 if result.evaluation else 1.9) * down + 1.2
    figure = Figure(figsize=(3.0 * across + 0.8, height), layout="constrained")
    cells = np.atleast_1d(figure.subfigures(down, across, wspace=0.01, hspace=0.02)).reshape(-1)
    for cell, task in zip(cells, result.tasks, strict=False):
        _panels(cell, result, task)
        choice = result.choice(task)
        _axis_names(cell, result, short=True)
        title = f"{task} (chosen: {choice.alpha})" if choice else task
        cell.suptitle(title, fontweight="bold", fontsize="medium")
    _share_scales(figure)
    figure.legend(*_legend(figure), loc="outside lower center", ncols=4, frameon=False)
    return figure


def confidence(result: RunResult) -> Figure:
    """How often every alpha wins the bootstrap, per task and over all: darker is more often."""
    assert result.selection is not None
    named: list[tuple[str, Choice]] = [*result.selection.tasks.items(), ("ALL TASKS", result.selection.overall)]
    grid = [c for c in result.candidates if any(c in choice.wins for _, choice in named)]
    wins = np.array([[choice.wins.get(c, 0.0) for c in grid] for _, choice in named])  # (tasks + 1, alphas)
    size = (1.8 + 0.62 * len(grid), 1.3 + 0.36 * len(named))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.imshow(wins, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, (_, choice) in enumerate(named):
        for x, candidate in enumerate(grid):
            chosen = candidate == choice.alpha
            if wins[y, x] >= 0.005 or chosen:
                axes.text(
                    x,
                    y,
                    wording.share(wins[y, x]),
                    ha="center",
                    va="center",
                    color="white" if wins[y, x] > 0.55 else BLACK,
                    fontweight="bold" if chosen else "normal",
                )
            if chosen:
                axes.add_patch(
                    mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2)
                )
    axes.set_xticks(range(len(grid)), [str(c) for c in grid])
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    axes.axhline(len(named) - 1.5, color=GREY, linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("alpha, the donors' share")
    axes.set_title("Share of bootstrap resamples that each alpha wins (framed: the choice)", loc="left")
    return figure


def _panels(figure: Any, result: RunResult, task: str | None) -> None:
    """Draw one task, or with None all, into a figure: scores above if there are any, D below."""
    choice = result.choice(task)
    rows = (["scores"] if result.evaluation else []) + (["D"] if choice else [])
    if not rows:
        return
    heights = {"scores": 2.2, "D": 1.0}
    panels = figure.subplots(
        len(rows), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [heights[row] for row in rows]}
    )[:, 0]
    for axes, row in zip(panels, rows, strict=True):
        axes.set_label(row)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if choice is not None:
            axes.axvline(choice.alpha.alpha, color=GREEN, linewidth=5, alpha=0.25, zorder=0)
    if result.evaluation:
        _draw_scores(panels[0], result, task)
    if choice is not None:
        _draw_differences(panels[-1], choice)
    alphas = [candidate.alpha for candidate in result.candidates]
    margin = 0.03 * (alphas[-1] - alphas[0] or 1)
    panels[-1].set_xlim(alphas[0] - margin, alphas[-1] + margin)


def _draw_scores(axes: Any, result: RunResult, task: str | None) -> None:
    assert result.evaluation is not None

    def named(label: str, value: float) -> str:
        return label if task else f"{label}: {value:.1f}"

    base = result.score(result.unmerged, task)
    if base is not None:
        axes.axhline(base, color=BLACK, linestyle=(0, (1, 1.5)), linewidth=1.3, label=named("target alone", base))
    for index, (name, found) in enumerate(result.evaluation.donors.items()):
        value, colour = score_on(found, task), PARENTS[index % len(PARENTS)]
        if value is not None:
            label = named(f"donor {name} alone", value)
            axes.axhline(value, color=colour, linestyle=(0, (4, 1.5, 1, 1.5)), linewidth=1.5, label=label)
    _curve(axes, result.evaluation.control, task, color=GREY, linestyle="--", marker="", label="control, no donor")
    _curve(axes, result.evaluation.candidates, task, color=BLUE, marker="o", markersize=4, label="merged")
    oracle, choice = result.oracle(task), result.choice(task)
    best = result.score(oracle, task)
    if oracle is not None and best is not None:
        axes.plot(oracle.alpha, best, color=PARENTS[1], marker="*", markersize=13, markeredgecolor=BLACK,
                  markeredgewidth=0.7, linestyle="", zorder=4, label=named("oracle (best by labels)", best))  # fmt: skip
    own = result.score(choice.alpha if choice else None, task)
    if choice is not None and own is not None:
        axes.plot(choice.alpha.alpha, own, color="none", marker="o", markersize=10, markeredgecolor=GREEN,
                  markeredgewidth=2, linestyle="", zorder=5, label=named("chosen without labels", own))  # fmt: skip
    axes.margins(y=0.08)


def _curve(axes: Any, points: Any, task: str | None, **line: Any) -> None:
    """A line through the scores of those candidates that have one."""
    found: list[tuple[Candidate, Scores]] = sorted(points.items(), key=lambda item: item[0])
    known = [(c.alpha, score_on(scores, task)) for c, scores in found if score_on(scores, task) is not None]
    if known:
        axes.plot(*zip(*known, strict=True), linewidth=1.6, **line)


def _draw_differences(axes: Any, choice: Choice) -> None:
    alphas = [candidate.alpha for candidate in choice.differences]
    axes.plot(alphas, list(choice.differences.values()), color=VERMILLION, marker="s", markersize=3.5,
              linewidth=1.6, label="D, changed answers")  # fmt: skip
    axes.plot(choice.alpha.alpha, choice.differences[choice.alpha], color="none", marker="o", markersize=10,
              markeredgecolor=GREEN, markeredgewidth=2, linestyle="", label="chosen without labels")  # fmt: skip
    low, high = min(0.0, *choice.differences.values()), max(1.0, *choice.differences.values())
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def _axis_names(figure: Any, result: RunResult, short: bool = False) -> None:
    """Name the axes of one task's panels."""
    for axes in figure.axes:
        if axes.get_label() == "scores":
            axes.set_ylabel(f"score ({result.unit})" if short else f"mean score ({result.unit})")
        else:
            axes.set_ylabel("D" if short else "D (answers)")
    figure.axes[-1].set_xlabel("alpha" if short else "alpha, the donors' share")


def _share_scales(figure: Figure) -> None:
    """Give all panels of one kind the same vertical scale."""
    for kind in ("scores", "D"):
        panels = [axes for axes in figure.get_axes() if axes.get_label() == kind]
        limits = [axes.get_ylim() for axes in panels]
        for axes in panels:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _legend(figure: Figure) -> tuple[list[Any], list[str]]:
    """One entry for every label in the figure, in order of appearance."""
    found: dict[str, Any] = {}
    for axes in _all_axes(figure):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _all_axes(figure: Any) -> Iterable[Any]:
    yield from figure.axes
    for part in figure.subfigs:
        yield from _all_axes(part)


def _style() -> AbstractContextManager[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says."""
    return mpl.rc_context(dict(mpl.rcParamsDefault) | {"font.size": 9, "axes.axisbelow": True})
