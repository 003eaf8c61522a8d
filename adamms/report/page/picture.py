"""Draws a chart of the page as a PNG, for the model card. The only place that uses matplotlib."""

from io import BytesIO

from adamms.report.page.charts import Chart

# The style sheet's colours, by day; Okabe and Ito's for the first ones, safe for the colour-blind.
COLOURS = {
    "merged": "#0072b2",
    "d": "#c44e00",
    "control": "#7a7f87",
    "target": "#1b2330",
    "several": "#00805c",
}
COLOURS |= {"p0": "#b4528c", "p1": "#a87500", "p2": "#2b8cc4", "p3": "#6b7a00"}
MARKS = {"chosen": ("o", 11, "none", "#00805c"), "oracle": ("*", 14, "#f0a500", "#1b2330")}
INK, RULE = "#1b2330", "#dce1e8"
UNITS, DPI = 90.0, 110  # of the chart's coordinates to an inch; pixels to an inch


def drawn(chart: Chart) -> bytes:
    """The picture, a PNG. The same chart gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = -(-len(chart.legend) // 4)
    size = (chart.width, chart.height + 22.0 * rows)
    with mpl.rc_context(dict(mpl.rcParamsDefault) | {"font.size": 9}):
        figure = Figure(figsize=(size[0] / UNITS, size[1] / UNITS))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
        axes.set_axis_off()
        across = [chart.left, chart.right]
        for panel in chart.panels:
            for y, text in panel.ticks:
                axes.plot(across, [y, y], color=RULE, linewidth=0.7)
                axes.text(chart.left - 6, y, text, ha="right", va="center")
            middle = (panel.top + panel.bottom) / 2
            axes.text(14, middle, panel.label, rotation=90, ha="center", va="center")
            for kind, y in panel.across:
                axes.plot(across, [y, y], color=COLOURS[kind], linestyle=":", linewidth=1.6)
            for kind, points in panel.bands:
                axes.fill(*zip(*points, strict=True), color=COLOURS[kind], alpha=0.15, linewidth=0)
            for kind, points in panel.lines:
                xs, ys = zip(*points, strict=True)
                style = "--" if kind == "control" else "-"
                axes.plot(xs, ys, style, color=COLOURS[kind], linewidth=1.6, marker="o", markersize=3.5)
            for spot in panel.spots:
                shape, width, fill, edge = MARKS[spot.kind]
                axes.plot(
                    [spot.x], [spot.y], shape, markersize=width, markerfacecolor=fill, markeredgecolor=edge
                )
        for x, text in chart.ticks:
            axes.text(x, chart.panels[-1].bottom + 16, text, ha="center", va="center")
        axes.text((chart.left + chart.right) / 2, chart.height - 12, chart.axis, ha="center", va="center")
        names = [
            axes.plot([], [], color=COLOURS[kind], linewidth=2, label=name) for kind, name in chart.legend
        ]
        handles = [line for lines in names for line in lines]
        figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, labelcolor=INK)
        written = BytesIO()
        figure.savefig(written, format="png", dpi=DPI, metadata={"Software": None})
    return written.getvalue()
