"""Pictures of the suite: accuracy along the grid with what was chosen, and how stated probabilities hold."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from judged import Judged

matplotlib.use("Agg")


def plot(
    folder: Path, pairs: Sequence[Judged], paper: str, own: str, reliability: Sequence[tuple[float, bool]]
) -> None:
    """Write `curves.png` and `reliability.png` into the folder.

    Args:
        paper, own: rows of the paper's rule and of the recommended search.
        reliability: (stated probability, whether it came true).
    """
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    regimes = list(dict.fromkeys(pair.regime for pair in pairs))
    columns = min(4, len(regimes))
    rows = -(-len(regimes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 2.4 * rows), squeeze=False, sharey=True)
    for place, panel in enumerate(axes.flat):
        panel.set_visible(place < len(regimes))
    for pair in pairs:
        panel, order = axes.flat[regimes.index(pair.regime)], pair.order
        panel.set_title(pair.regime, fontsize=9)
        alphas = [candidate.alpha for candidate in order]
        panel.plot(alphas, pair.accuracy, color="0.6", linewidth=1)
        for row, marker, colour in ((paper, "x", "#d55e00"), (own, "o", "#0072b2")):
            at = order.index(pair.findings[row].candidate)
            panel.plot(alphas[at], pair.accuracy[at], marker, color=colour, fillstyle="none")
    figure.supxlabel("alpha")
    figure.supylabel("accuracy, %")
    figure.suptitle("x: the paper's rule, o: search=trusted", fontsize=10)
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=120)
    plt.close(figure)

    figure, panel = plt.subplots(figsize=(4, 4))
    stated = np.array([one for one, _ in reliability])
    right = np.array([two for _, two in reliability], dtype=float)
    order = np.argsort(stated)
    groups = np.array_split(order, max(1, len(order) // 6))
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    panel.plot([stated[g].mean() for g in groups], [right[g].mean() for g in groups], "o-", color="#0072b2")
    panel.set_xlabel("stated probability of a good choice")
    panel.set_ylabel("share that was good")
    figure.tight_layout()
    figure.savefig(folder / "reliability.png", dpi=120)
    plt.close(figure)
