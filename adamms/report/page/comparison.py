"""The page of a comparison: which model is best, all models in a table, the searches' curves over each other.

Arranges what `comparison_tables` says. Every run's own page is a link.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from adamms.merge.candidate import ALPHA, Candidate, short
from adamms.report import quantity, words
from adamms.report.compare import comparison_tables, comparison_verdicts, published
from adamms.report.compare.comparison import Comparison
from adamms.report.compare.measured import of_search
from adamms.report.compare.run_folders import FoundRun
from adamms.report.files import REPORT
from adamms.report.page.charts import Chart, Panel, Series, Spot
from adamms.report.page.intervals import intervals
from adamms.report.page.render import render
from adamms.report.table import Column, Table

SCRIPTS = ("page.js", "jobs.js")
COLOURS = 10  # of the style sheet; then they come again
DASHES = 3
WIDTH = 720.0
LETTER = 12.0  # as high is one of an axis' title on a phone
# Mode of a run -> what it is called, one and many.
KINDS = {
    "search": ("search", "searches"),
    "merge": ("merge", "merges"),
    "evaluate": ("evaluation", "evaluations"),
    "lmms_eval": ("result of lmms-eval", "results of lmms-eval"),
}
Named = Sequence[tuple[str, FoundRun]]


def page(comparison: Comparison) -> str:
    """The page: one HTML file."""
    axes: dict[str, list[int]] = {}  # key of the only axis -> places of the searches
    apart = []
    for place, (name, run) in enumerate(comparison.searches):
        axis = run.found.axis
        axes.setdefault(axis, []).append(place) if axis is not None else apart.append(name)
    overview = comparison_tables.overview(comparison, wide=True)
    beside = published.beside(comparison)
    context = {
        "title": _title(comparison),
        "published": beside and published.table(beside, wide=True),
        "folder": str(comparison.folder),
        "verdicts": comparison_verdicts.verdicts(comparison),
        "intervals": [
            intervals(group) for group in comparison.groups if group.reference and len(group.rows) > 1
        ],
        "overview": overview,
        "links": _links(comparison, [row.scored or row.run for row in comparison.rows]),
        "unknown": comparison_tables.unknown(comparison),
        "doubts": comparison_tables.doubts(comparison),
        "legend": [line.replace("^", "★") for line in comparison_tables.legend(comparison)],
        "failures": comparison_tables.failures(comparison),
        "charts": [_chart(comparison.searches, axis, places) for axis, places in axes.items()],
        "apart": apart,
        "searches": comparison_tables.searches(comparison),
        "search_links": _links(comparison, [run for _, run in comparison.searches]),
        "choices": comparison_tables.choices(comparison),
        "hyperparameters": comparison_tables.hyperparameters(comparison),
        "runs": _runs(comparison),
        "run_links": _links(comparison, comparison.runs),
    }
    return render("comparison.html", context, SCRIPTS)


def _title(comparison: Comparison) -> str:
    """What is compared: '4 searches, 1 merge and 8 evaluations'."""
    modes = [run.mode for run in comparison.runs if run.result is not None]
    counts = [(modes.count(mode), *forms) for mode, forms in KINDS.items()]
    return words.listing(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)


def _links(comparison: Comparison, runs: Sequence[FoundRun]) -> dict[int, str]:
    """Place -> the run's own page, from the comparison's folder; without those that have none."""
    found = {}
    for place, run in enumerate(runs):
        file = run.output / REPORT
        if file.is_file():
            found[place] = quote(os.path.relpath(file, comparison.folder.resolve()).replace(os.sep, "/"))
    return found


def _runs(comparison: Comparison) -> Table:
    columns: list[Column[FoundRun]] = [
        ("run", lambda run: str(run.number)),
        ("mode", lambda run: run.mode or "-"),
        ("state", lambda run: run.state),
        ("overrides", lambda run: ", ".join(f"{key}={value}" for key, value in run.overrides.items())),
        ("output", lambda run: str(run.output)),
        ("seconds", lambda run: words.fixed(run.seconds, 1)),
    ]
    return Table.of("The runs", comparison.runs, columns, texts=5)


def _chart(searches: Named, axis: str, places: Sequence[int]) -> Chart:
    """The searches along one axis: mean scores above, a panel per measure; D below, a panel per signal."""
    scores, differences = dict[str, Panel](), dict[str, Panel]()
    for place in places:
        name, run = searches[place]
        result, choice = run.found, run.found.choice(None)
        assert choice is not None
        kind = f"j{place} c{place % COLOURS} s{place % DASHES}"
        found = of_search(run)
        if found is not None:
            measure = found[0].measure
            panel = scores.get(measure, Panel(f"mean {measure} (%)", (), ceiling=100.0))
            values = {candidate: result.score(candidate, None) for candidate in result.grid}
            scores[measure] = _added(panel, name, kind, axis, choice.candidate, values)
        signal = _signal(run)
        panel = differences.get(signal, Panel("D", (), from_zero=True))
        known = {c: value for c, value in choice.differences.items() if c != result.several}
        differences[signal] = _added(panel, name, kind, axis, choice.candidate, known)
    below = [_labelled(panel, signal, differences, len(scores)) for signal, panel in differences.items()]
    panels = [panel for panel in (*scores.values(), *below) if panel.series]
    stops = sorted({x for panel in panels for series in panel.series for x, _ in series.points})
    return Chart(
        "All searches" if axis == ALPHA else f"Searches over {short(axis)}",
        words.axis(axis),
        short(axis),
        [(stop, f"{stop:.10g}") for stop in stops],
        WIDTH,
        [260.0 if panel in scores.values() else max(130.0, LETTER * len(panel.label)) for panel in panels],
        panels,
    )


def _signal(run: FoundRun) -> str:
    """What D is of a search, with how many examples it sums over."""
    choice = run.found.choice(None)
    assert choice is not None
    own = quantity.key(run.settings.get("search") or {})
    return json.dumps([own, choice.because, choice.compared, choice.examples])


def _labelled(panel: Panel, signal: str, signals: Mapping[str, Panel], scores: int) -> Panel:
    """With the signal's name beside D where there are several of them, as short as tells them apart."""
    searches = {each: json.loads(json.loads(each)[0]) for each in signals}
    names = {each: quantity.in_words(search, exact=False) for each, search in searches.items()}
    alone = list(names.values()).count(names[signal]) == 1
    name = names[signal] if alone else quantity.in_words(searches[signal])
    label = f"D, {name}" if len(signals) > 1 and name else "D"
    return replace(panel, label=label, told=not scores or len(panel.series) == 1, digits=0)


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
