"""The picture of a mapping: how much every merged tensor resembles its counterpart, layer by layer.

With `plots` and `grid_map` the only module that imports matplotlib; draws plain data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from adamms.mapping.checks.distance import Check, Verification
from adamms.report.plots import BLUE, DPI, GREY, VERMILLION, Box, Sheet, short, style

CELL, BAR = 0.24, 0.12  # inches
MOST_ROLES = 60  # per model, so that the picture stays one
LEAST_DISTANCE = 1e-4  # where colours end; identical tensors are at 0


@dataclass(frozen=True)
class Panel:
    """One quantity of one model as a picture.

    Args:
        title: above it.
        quantity: which field of a check.
        colours: matplotlib's name of the colour map.
        scale: what maps values to colours: keywords of `pcolormesh`.
        frame: the colour around problems.
    """

    title: str
    quantity: str
    colours: str
    scale: dict[str, Any]
    frame: str


def draw_resemblance(file: Path, checks: Verification) -> Path:
    """Write roles x layers, for each model the cosine beside the distance; problems are framed."""
    sources = list(dict.fromkeys(check.source for check in checks.checks))
    with style():
        sheet, top = Sheet(10.0), 0.0
        for source in sources:
            mine = [check for check in checks.checks if check.source == source]
            top = _row(sheet, top, source, mine)
        figure = sheet.finish(top)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=DPI, metadata={"Software": None})
    return file


def _row(sheet: Sheet, top: float, source: str, checks: Sequence[Check]) -> float:
    """One model's two panels; returns where the next begin."""
    roles = _least_alike(checks)
    checks = [check for check in checks if check.role in roles]
    layers = sorted({check.layer for check in checks if check.layer is not None})
    columns: list[int | None] = [*layers, *([None] if any(check.layer is None for check in checks) else [])]
    labels = 0.4 + 0.068 * max(len(short(role, 40)) for role in roles)
    width = (sheet.width - labels - 1.7) / 2
    height = CELL * len(roles)
    panels = (
        Panel(f"{short(source)}: cosine", "cosine", "Blues", {"vmin": 0, "vmax": 1}, VERMILLION),
        Panel(
            f"{short(source)}: relative distance",
            *("distance", "Oranges"),
            {"norm": LogNorm(LEAST_DISTANCE, 2.0, clip=True)},
            BLUE,
        ),
    )
    for index, panel in enumerate(panels):
        left = labels + index * (width + 0.85)
        axes = sheet.add(Box(left, top + 0.35, width, height))
        mesh = _mesh(axes, panel, checks, roles, columns)
        bar = sheet.add(Box(left + width + 0.07, top + 0.35, BAR, height))
        sheet.figure.colorbar(mesh, cax=bar)
        axes.set_yticks(
            np.arange(len(roles)) + 0.5, [short(role, 40) for role in roles] if index == 0 else []
        )
        step = max(1, len(columns) // 16)
        names = ["-" if layer is None else str(layer) for layer in columns]
        axes.set_xticks(np.arange(len(columns))[::step] + 0.5, names[::step])
        axes.set_xlabel("layer")
    return top + height + 0.95


def _least_alike(checks: Sequence[Check]) -> list[str]:
    """All roles in their order; of very many, as where names say nothing of layers, those least alike."""
    worst: dict[str, float] = {}
    for check in checks:
        value = 1.0 if check.cosine is None else check.cosine
        worst[check.role] = min(worst.get(check.role, 1.0), value)
    shown = set(sorted(worst, key=lambda role: worst[role])[:MOST_ROLES])
    return [role for role in worst if role in shown]


def _mesh(
    axes: Any, panel: Panel, checks: Sequence[Check], roles: list[str], columns: list[int | None]
) -> Any:
    values = np.full((len(roles), len(columns)), np.nan)  # (roles, layers)
    for check in checks:
        y, x = roles.index(check.role), columns.index(check.layer)
        value = getattr(check, panel.quantity)
        if value is not None:
            # Several tensors of one role and layer, e.g. experts: the one that is worst.
            worst = np.fmin if panel.quantity == "cosine" else np.fmax
            values[y, x] = worst(values[y, x], value)
        if check.problem:
            axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor=panel.frame, linewidth=2, zorder=3))
    axes.set_facecolor("#EEEEEE")
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=panel.colours, edgecolors="white", linewidth=0.5, **panel.scale
    )
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_color(GREY)
    axes.set_title(panel.title, loc="left", fontweight="bold")
    return mesh
