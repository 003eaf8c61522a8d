"""`comparison.html`: the searches of a multirun as one page, with their curves over each other.

Arranges what `comparison_tables` says; every job's own page is a link.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from adamms.merge.candidate import ALPHA, short
from adamms.report import comparison_tables, words
from adamms.report.comparison import Comparison, Job
from adamms.report.comparison_curves import Curve, curve
from adamms.report.page.charts import Chart, Frame, Panel, Series, Spot, chart, limits
from adamms.report.page.render import render
from adamms.report.page.report import Fact
from adamms.report.tables import Cell, Table

SCRIPTS = ("page.js", "jobs.js")
COLOURS = 10  # of the style sheet; then they come again
DASHES = 3
WIDTH = 720.0


@dataclass(frozen=True)
class ComparisonView:
    """What the template shows. Empty or None is left out of the page."""

    title: str
    folder: str
    facts: tuple[Fact, ...]
    overview: Table | None
    links: dict[int, str]
    legend: tuple[str, ...]
    failures: tuple[str, ...]
    charts: tuple[Chart, ...]
    apart: tuple[str, ...]
    choices: Table | None
    hyperparameters: Table | None
    jobs: Table


def page(comparison: Comparison) -> str:
    """The page of a multirun: one HTML file.

    Raises:
        AdammsError: results of a job that are not what adamms writes.
    """
    return render("comparison.html", vars(view(comparison)), SCRIPTS)


def view(comparison: Comparison) -> ComparisonView:
    """All that the page says."""
    overview = comparison_tables.overview(comparison)
    names = _names(overview)
    curves = {index: found for index, job in enumerate(comparison.jobs) if (found := curve(job)) is not None}
    axes = dict.fromkeys(found.axis for found in curves.values())
    return ComparisonView(
        title=f"{len(comparison.jobs)} searches compared",
        folder=str(comparison.folder),
        facts=tuple(_facts(comparison, names)),
        overview=overview,
        links={i: link for i, job in enumerate(comparison.jobs) if (link := _link(comparison, job))},
        legend=tuple(line.replace("^", "★") for line in comparison_tables.legend(comparison)),
        failures=tuple(comparison_tables.failures(comparison)),
        charts=tuple(
            _chart(comparison, names, axis, {i: c for i, c in curves.items() if c.axis == axis})
            for axis in axes
        ),
        apart=tuple(
            names[index]
            for index, job in enumerate(comparison.jobs)
            if job.found is not None and index not in curves
        ),
        choices=comparison_tables.choices(comparison),
        hyperparameters=comparison_tables.hyperparameters(comparison),
        jobs=_jobs(comparison),
    )


def _names(overview: Table | None) -> list[str]:
    """What tells each search from the others, in the table's words."""
    if overview is None:
        return []
    end = overview.columns.index("chosen")
    told = [", ".join(cell.text for cell in row[1:end] if cell.text) for row in overview.rows]
    return [
        f"job {row[0].text}" + (f": {text}" if text else "")
        for row, text in zip(overview.rows, told, strict=True)
    ]


def _facts(comparison: Comparison, names: Sequence[str]) -> list[Fact]:
    states = [job.state for job in comparison.jobs]
    ended = [job for job in comparison.jobs if job.found is not None]
    others = len(states) - len(ended)
    facts = [
        Fact("Searches", str(len(ended)), f"{others} without a result" if others else "all have ended",
             "bad" if others else "")
    ]  # fmt: skip
    best = [index for index, job in enumerate(comparison.jobs) if job.number in comparison.best]
    first = comparison.jobs[best[0]].found if best else None
    if first is not None:
        chosen = first.overall
        equal = f", and {len(best) - 1} more" if len(best) > 1 else ""
        said = f"chosen by {names[best[0]]}{equal}"
        facts.insert(0, Fact("Highest mean score, by labels", words.score(chosen.score), said, "good"))
        sure = f"wins {words.share(chosen.confidence)} of the resamples"
        facts.insert(1, Fact("That choice", chosen.candidate, sure))
    seconds = [job.seconds for job in comparison.jobs if job.seconds is not None]
    if seconds:
        facts.append(Fact("Time of all jobs", words.seconds(sum(seconds)), "added up"))
    return facts


def _link(comparison: Comparison, job: Job) -> str:
    """From the multirun's folder to the job's own page; "" where there is none."""
    page = job.output / "report.html"
    if not page.is_file():
        return ""
    return quote(os.path.relpath(page, comparison.folder).replace(os.sep, "/"))


def _jobs(comparison: Comparison) -> Table:
    rows = [
        tuple(
            map(
                Cell,
                (
                    str(job.number),
                    job.state,
                    ", ".join(f"{key}={value}" for key, value in job.overrides.items()),
                    str(job.output),
                    "-" if job.seconds is None else f"{job.seconds:.1f}",
                ),
            )
        )
        for job in comparison.jobs
    ]
    return Table("The jobs", ("job", "state", "overrides", "output", "seconds"), tuple(rows), texts=4)


def _chart(comparison: Comparison, names: Sequence[str], axis: str, curves: dict[int, Curve]) -> Chart:
    """All searches along one axis: mean scores above, where there are any, D below."""
    curves = {index: found for index, found in curves.items() if found.axis == axis}
    labels = {index: names[index] for index in curves}
    scores = _panel("mean score (%)", {i: found.scores for i, found in curves.items()}, labels, comparison)
    differences = _panel("D", {i: c.differences for i, c in curves.items()}, labels, comparison)
    panels = [panel for panel in (scores, differences) if panel.series]
    if len(panels) == 2:
        panels[1] = replace(panels[1], told=len(curves) == 1, digits=0)
    places = sorted({x for panel in panels for series in panel.series for x, _ in series.points})
    frame = Frame(
        WIDTH,
        [260.0, 130.0][: len(panels)],
        [(place, f"{place:.10g}") for place in places],
        axis="alpha, the donors' share" if axis == ALPHA else short(axis),
    )
    title = "All searches" if axis == ALPHA else f"Searches over {short(axis)}"
    return chart(title, frame, panels, short(axis))


def _panel(
    label: str, values: Mapping[int, Mapping[float, float]], names: dict[int, str], comparison: Comparison
) -> Panel:
    """One quantity of all searches; each one's choice is marked."""
    series, spots = [], []
    for index, found in values.items():
        if not found:
            continue
        kind = f"j{index} c{index % COLOURS} s{index % DASHES}"
        series.append(Series(names[index], kind, tuple(sorted(found.items()))))
        job = comparison.jobs[index]
        assert job.found is not None
        (chosen,) = job.found.overall.settings.values()
        if chosen in found:
            spots.append(Spot(f"chosen {kind}", chosen, found[chosen]))
    panel = Panel(label, tuple(series), tuple(spots))
    low, high = limits([panel], ceiling=100.0 if label.startswith("mean") else None)
    return replace(panel, low=-0.06 * high if label == "D" else low, high=max(high, low + 1))
