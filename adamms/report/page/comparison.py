"""The page of a multirun: its searches in a table, with their curves over each other.

Arranges what `comparison_tables` says. Every job's own page is a link.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from adamms.merge.candidate import ALPHA, Candidate, short
from adamms.report import comparison_tables, words
from adamms.report.comparison import Comparison, JobRow
from adamms.report.page.charts import Chart, Panel, Series, Spot
from adamms.report.page.render import Fact, render
from adamms.report.tables import Column, Table

SCRIPTS = ("page.js", "jobs.js")
COLOURS = 10  # of the style sheet; then they come again
DASHES = 3
WIDTH = 720.0


def page(comparison: Comparison) -> str:
    """The page of a multirun: one HTML file."""
    names = _names(comparison)
    axes: dict[str, list[int]] = {}  # key of the only axis -> places of the jobs
    apart = []
    for place, job in enumerate(comparison.jobs):
        if job.result is not None:
            axis = job.result.axis
            axes.setdefault(axis, []).append(place) if axis is not None else apart.append(names[place])
    context = {
        "title": f"{len(comparison.jobs)} searches compared",
        "folder": str(comparison.folder),
        "facts": _facts(comparison, names),
        "overview": comparison_tables.overview(comparison),
        "links": {i: link for i, job in enumerate(comparison.jobs) if (link := _link(comparison, job))},
        "doubts": comparison_tables.doubts(comparison),
        "legend": [line.replace("^", "★") for line in comparison_tables.legend(comparison)],
        "failures": comparison_tables.failures(comparison),
        "charts": [_chart(comparison, names, axis, places) for axis, places in axes.items()],
        "apart": apart,
        "choices": comparison_tables.choices(comparison),
        "hyperparameters": comparison_tables.hyperparameters(comparison),
        "jobs": _jobs(comparison),
    }
    return render("comparison.html", context, SCRIPTS)


def _names(comparison: Comparison) -> list[str]:
    """What tells each search from the others, in the table's words."""
    labels, names = comparison_tables.labels(comparison), []
    for job in comparison.jobs:
        told = ", ".join(text for _, read in labels if (text := read(job)))
        names.append(f"job {job.number}" + (f": {told}" if told else ""))
    return names


def _facts(comparison: Comparison, names: Sequence[str]) -> list[Fact]:
    facts = []
    best = [place for place, job in enumerate(comparison.jobs) if job.number in comparison.best]
    if best:
        first = comparison.jobs[best[0]]
        equal = f", and {len(best) - 1} more" if len(best) > 1 else ""
        alike = comparison_tables.not_told_apart(comparison)
        level = f"; not told apart: {alike}" if alike else ""
        said, error = f"chosen by {names[best[0]]}{equal}{level}", words.error(first.found.chosen.estimate())
        facts.append(
            Fact(
                f"Highest mean {comparison.measure}, by labels", words.score(first.score), said, "good", error
            )
        )
        choice = first.found.choice(None)
        if choice is not None:
            said = f"good with a probability of {words.probability(choice.trust)}" if choice.trust else ""
            low = choice.trust is not None and words.is_low(choice.trust)
            facts.append(Fact("That choice", str(choice.candidate), said, "bad" if low else ""))
    ended = len(comparison.results)
    others = len(comparison.jobs) - ended
    said = f"{others} without a result" if others else "all have ended"
    facts.append(Fact("Searches", str(ended), said, "bad" if others else ""))
    seconds = [job.seconds for job in comparison.jobs if job.seconds is not None]
    if seconds:
        facts.append(Fact("Time of all jobs", words.seconds(sum(seconds)), "added up"))
    return facts


def _link(comparison: Comparison, job: JobRow) -> str:
    """From the multirun's folder to the job's own page; "" where there is none."""
    file = job.output / "report.html"
    return quote(os.path.relpath(file, comparison.folder).replace(os.sep, "/")) if file.is_file() else ""


def _jobs(comparison: Comparison) -> Table:
    columns: list[Column[JobRow]] = [
        ("job", lambda job: str(job.number)),
        ("state", lambda job: job.state),
        ("overrides", lambda job: ", ".join(f"{key}={value}" for key, value in job.overrides.items())),
        ("output", lambda job: str(job.output)),
        ("seconds", lambda job: words.fixed(job.seconds, 1)),
    ]
    return Table.of("The jobs", comparison.jobs, columns, texts=4)


def _chart(comparison: Comparison, names: Sequence[str], axis: str, places: Sequence[int]) -> Chart:
    """The searches along one axis: mean scores above, where there are any, D below; each choice is marked."""
    scores = Panel(f"mean {comparison.measure} (%)", (), ceiling=100.0)
    differences = Panel("D", (), from_zero=True)
    for place in places:
        result = comparison.jobs[place].result
        choice = result.choice(None) if result else None
        if result is not None and choice is not None:
            kind = f"j{place} c{place % COLOURS} s{place % DASHES}"
            values = {candidate: result.score(candidate, None) for candidate in result.grid}
            scores = _added(scores, names[place], kind, axis, choice.candidate, values)
            known = {c: value for c, value in choice.differences.items() if c != result.several}
            differences = _added(differences, names[place], kind, axis, choice.candidate, known)
    if scores.series:
        differences = replace(differences, told=len(places) == 1, digits=0)
    panels = [panel for panel in (scores, differences) if panel.series]
    stops = sorted({x for panel in panels for series in panel.series for x, _ in series.points})
    return Chart(
        "All searches" if axis == ALPHA else f"Searches over {short(axis)}",
        words.axis(axis),
        short(axis),
        [(stop, f"{stop:.10g}") for stop in stops],
        WIDTH,
        [260.0, 130.0][: len(panels)],
        panels,
    )


def _added(
    panel: Panel, name: str, kind: str, axis: str, chosen: Candidate, values: Mapping[Candidate, float | None]
) -> Panel:
    """The panel with one more curve, of the values that are known."""
    points = {c: (c.settings[axis], value) for c, value in sorted(values.items()) if value is not None}
    if not points:
        return panel
    series = (*panel.series, Series(name, kind, tuple(points.values())))
    spots = [Spot(f"chosen {kind}", *points[chosen])] if chosen in points else []
    return replace(panel, series=series, spots=(*panel.spots, *spots))
