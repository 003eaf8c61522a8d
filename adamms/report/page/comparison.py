"""The page of a multirun: its searches in a table, with their curves over each other.

Arranges what `comparison_tables` says. Every job's own page is a link.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from adamms.merge.candidate import ALPHA, short
from adamms.report import comparison_tables, words
from adamms.report.comparison import Comparison, JobRow
from adamms.report.page.charts import Chart, Frame, Panel, Series, Spot, chart
from adamms.report.page.render import Fact, render
from adamms.report.tables import Table, rows_of

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
    _, texts = comparison_tables.labels(comparison)
    told = [", ".join(text for text in texts[job.number] if text) for job in comparison.jobs]
    return [
        f"job {job.number}" + (f": {text}" if text else "")
        for job, text in zip(comparison.jobs, told, strict=True)
    ]


def _facts(comparison: Comparison, names: Sequence[str]) -> list[Fact]:
    facts = []
    best = [place for place, job in enumerate(comparison.jobs) if job.number in comparison.best]
    if best:
        first = comparison.jobs[best[0]]
        equal = f", and {len(best) - 1} more" if len(best) > 1 else ""
        said = f"chosen by {names[best[0]]}{equal}"
        facts.append(Fact("Highest mean score, by labels", words.score(first.score), said, "good"))
        choice = first.result.choice(None) if first.result else None
        if choice is not None:
            sure = f"wins {words.share(choice.confidence)} of the resamples"
            facts.append(Fact("That choice", str(choice.candidate), sure))
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
    rows = [
        (
            str(job.number),
            job.state,
            ", ".join(f"{key}={value}" for key, value in job.overrides.items()),
            str(job.output),
            words.fixed(job.seconds, 1),
        )
        for job in comparison.jobs
    ]
    return Table("The jobs", ("job", "state", "overrides", "output", "seconds"), rows_of(rows), texts=4)


def _chart(comparison: Comparison, names: Sequence[str], axis: str, places: Sequence[int]) -> Chart:
    """The searches along one axis: mean scores above, where there are any, D below."""
    scores: dict[int, dict[float, float]] = {}
    differences: dict[int, dict[float, float]] = {}
    for place in places:
        result = comparison.jobs[place].result
        assert result is not None
        choice, at = result.choice(None), {c: c.settings[axis] for c in result.grid}
        known = choice.differences if choice else {}
        scores[place] = {x: score for c, x in at.items() if (score := result.score(c, None)) is not None}
        differences[place] = {x: known[c] for c, x in at.items() if c in known}
    panels = [
        _panel("mean score (%)", scores, names, comparison, axis),
        _panel("D", differences, names, comparison, axis),
    ]
    panels = [panel for panel in panels if panel.series]
    if len(panels) == 2:
        panels[1] = replace(panels[1], told=len(places) == 1, digits=0)
    stops = sorted({x for panel in panels for series in panel.series for x, _ in series.points})
    frame = Frame(
        WIDTH,
        [260.0, 130.0][: len(panels)],
        [(stop, f"{stop:.10g}") for stop in stops],
        axis="alpha, the donors' share" if axis == ALPHA else short(axis),
    )
    title = "All searches" if axis == ALPHA else f"Searches over {short(axis)}"
    return chart(title, frame, panels, short(axis))


def _panel(
    label: str,
    values: Mapping[int, Mapping[float, float]],
    names: Sequence[str],
    comparison: Comparison,
    axis: str,
) -> Panel:
    """One quantity of the searches; each one's choice is marked."""
    series, spots = [], []
    for place, found in values.items():
        result = comparison.jobs[place].result
        choice = result.choice(None) if result else None
        if not found or result is None or choice is None:
            continue
        kind = f"j{place} c{place % COLOURS} s{place % DASHES}"
        series.append(Series(names[place], kind, tuple(sorted(found.items()))))
        chosen = choice.candidate.settings[axis]
        if choice.candidate in result.grid and chosen in found:
            spots.append(Spot(f"chosen {kind}", chosen, found[chosen]))
    scores = label != "D"
    return Panel(label, tuple(series), tuple(spots), 100.0 if scores else None, from_zero=not scores)
