"""The picture of a search over several axes: D, and the mean score, over every two of them.

With `plots` and `heatmap` the only module that imports matplotlib; draws plain data.
"""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from adamms.merge.candidate import axes_of
from adamms.merge.candidate import short as short_key
from adamms.report.grid_surfaces import Quantity, quantities, surface
from adamms.report.plots import BLACK, DPI, GREY, VERMILLION, Box, Sheet, short, style
from adamms.report.result import RunResult

COLOURS = {"difference": "Blues_r", "good": "Oranges"}  # darker is better
CELL = (0.58, 0.34)  # inches
LEFT, ABOVE, BELOW = 0.85, 0.45, 0.65  # of a panel, in inches


def draw(folder: Path, result: RunResult) -> list[Path]:
    """Write grid.png if the candidates differ along several axes, and return its path."""
    axes = {key: values for key, values in axes_of(result.candidates).items() if len(values) > 1}
    pairs = list(combinations(axes, 2))
    panels = quantities(result)
    if not pairs or not panels:
        return []
    with style():
        width, top = max(2.4, CELL[0] * max(map(len, axes.values()))), 0.0
        sheet = Sheet(len(panels) * (LEFT + width) + 0.2)
        for pair in pairs:
            height = CELL[1] * len(axes[pair[1]])
            for column, quantity in enumerate(panels):
                left = LEFT + column * (LEFT + width)
                box = Box(left, top + ABOVE, CELL[0] * len(axes[pair[0]]), height)
                panel = sheet.add(box)
                _map(panel, quantity, surface(quantity, axes, pair))
                rest = ", best of the others" if len(axes) > 2 else ""
                name = short(quantity.name + rest, 40)
                panel.set_title(name, loc="left", fontweight="bold", fontsize="medium")
                _name(panel, result, axes, pair)
            top += ABOVE + height + BELOW
        figure = sheet.finish(top)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "grid.png"
        figure.savefig(file, dpi=DPI, metadata={"Software": None})
    return [file]


def _map(panel: Any, quantity: Quantity, values: npt.NDArray[np.float64]) -> None:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    span = (high - low) or 1.0
    less = quantity.kind == "difference"  # is better
    panel.set_facecolor("#EEEEEE")
    # Colours stop short of the darkest, so that numbers can be read.
    panel.imshow(
        np.ma.masked_invalid(values), cmap=COLOURS[quantity.kind], vmin=low - 0.6 * span if less else low,
        vmax=high if less else high + 0.6 * span, aspect="auto", origin="lower",
    )  # fmt: skip
    for y, x in np.ndindex(*values.shape):
        value = float(values[y, x])
        text = "-" if np.isnan(value) else quantity.words(value)
        panel.text(x, y, text, ha="center", va="center", color=GREY if text == "-" else BLACK)


def _name(panel: Any, result: RunResult, axes: Mapping[str, list[float]], pair: tuple[str, str]) -> None:
    """Ticks and names of the axes, and a frame around the choice."""
    choice = result.choice(None)
    if choice is not None:
        x, y = (axes[key].index(choice.candidate.settings[key]) for key in pair)
        panel.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2, clip_on=False)
        )
    columns, rows = ([f"{value:.10g}" for value in axes[key]] for key in pair)
    panel.set_xticks(range(len(columns)), columns)
    panel.set_yticks(range(len(rows)), rows)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel(short_key(pair[0]))
    panel.set_ylabel(short_key(pair[1]))
