"""Results of searches over other numbers than alpha, and over several: words, tables and pictures."""

from dataclasses import replace
from pathlib import Path

import pytest
from page_text import Page

from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.merge.candidate import Candidate
from adamms.report import findings, words
from adamms.report.page import curves, heat
from adamms.report.report import write_report
from adamms.report.result import Result
from adamms.report.trackers import metrics
from adamms.search.candidates import lattice
from adamms.search.choice import Choice, Selection, Several

DENSITY = {"merge.density": [0.1, 0.2, 0.4, 0.6, 0.8]}
THREE = {
    "merge.density": [0.1, 0.2, 0.4, 0.6, 0.8],
    "merge.scaling": [1, 1.5, 2, 3],
    "merge.alpha": [0.3, 0.5],
}


def searched(result: Result, axes: dict[str, list[float]]) -> Result:
    """A made-up search: best in the middle of every axis, the ends of the first cannot win."""
    grid = lattice(axes)
    inner = [c for c in grid if c.settings["merge.density"] in axes["merge.density"][1:-1]]
    away = {
        c: sum(abs(axes[key].index(value) - len(axes[key]) // 2) for key, value in c.settings.items())
        for c in grid
    }
    least = min(away[c] for c in inner)
    tied = tuple(c for c in inner if away[c] == least)
    wins = {c: (0.5 if c in tied else 0.0) / len(tied) for c in inner} | {inner[0]: 0.5}
    choice = Choice(tied[0], {c: 3.0 + 7 * away[c] for c in inner}, tied, wins[tied[0]], wins, 50)
    return replace(
        result,
        selection=Selection({"read": choice, "spell": choice}, choice),
        evaluation=Evaluation(
            {c: Scores({"read": 80.0 - 4 * away[c], "spell": 70.0}) for c in grid},
            {"a": Scores({"read": 60.0, "spell": 50.0})},
            {},
            Scores({"read": 61.0, "spell": 65.0}),
        ),
        merged=tied[0],
    )


def test_one_other_number_goes_by_its_name(result: Result, tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, searched(result, DENSITY)))
    assert "density=0.4 was chosen: its answers change least" in page.text
    assert "the model at density=0.4 scores 75.0 % (accuracy), the best of the grid" in page.text
    assert "The better parent, the target, has 63.0" in page.text
    scores = page.tables["Scores (accuracy, %) by labels that the search never saw"]
    assert scores[0] == ["density", "mean", "D", "read", "spell"]
    assert ["target", "63.0", "", "61.0", "65.0"] in scores
    assert "merged at density=0.4," in page.text
    assert f"{result.command} merge.density=0.4  # read, spell" in page.code


def test_several_numbers_are_named_together(result: Result, tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, searched(result, THREE)))
    assert "density=0.4, scaling=2, alpha=0.5 was chosen" in page.text
    assert page.tables["Scores (accuracy, %) by labels that the search never saw"][0][0] == "candidate"
    command = f"{result.command} merge.density=0.4 merge.scaling=2 merge.alpha=0.5  # read, spell"
    assert command in page.code


def test_a_map_has_the_best_over_the_other_axes(result: Result) -> None:
    found = searched(result, THREE)
    maps = {(heat.title, heat.corner, heat.across): heat for heat in heat.surfaces(found)}
    assert len(maps) == 6
    assert found.evaluation is not None
    means = found.evaluation.candidates
    shown = maps["mean accuracy (%), the best of the other axes", "alpha", "density"]
    for y, alpha in enumerate(THREE["merge.alpha"]):
        for x, density in enumerate(THREE["merge.density"]):
            at = [c for c in means if (c.alpha, c.settings["merge.density"]) == (alpha, density)]
            assert shown.squares[y][x].text == f"{max(means[c].mean for c in at):.1f}"
    choice = found.choice(None)
    assert choice is not None
    shown = maps["D, all tasks, the best of the other axes", "scaling", "density"]
    for row, scaling in zip(shown.squares, THREE["merge.scaling"], strict=True):
        assert [row[0].text, row[-1].text] == ["-", "-"]  # the ends have no D
        for square, density in zip(row[1:-1], THREE["merge.density"][1:-1], strict=True):
            at = [
                value
                for c, value in choice.differences.items()
                if (c.settings["merge.scaling"], c.settings["merge.density"]) == (scaling, density)
            ]
            assert square.text == f"{min(at):.0f}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"merge.density": 0.1, "merge.scaling": 2.0}, "It is at the edge of what could win along density."),
        ({"merge.density": 0.1, "merge.scaling": 3.0}, "along density and scaling."),
        ({"merge.density": 0.4, "merge.scaling": 2.0}, ""),
    ],
)
def test_an_edge_of_several_axes_is_named(settings: dict[str, float], said: str) -> None:
    grid = lattice({key: THREE[key] for key in settings})
    winner = Candidate.of(settings)
    choice = Choice(winner, dict.fromkeys(grid, 9.0) | {winner: 1.0}, (winner,), 1.0, {winner: 1.0}, 10)
    text = findings.how_good(choice)
    assert (said in text) if said else ("edge" not in text)


def test_spans_of_other_grids() -> None:
    one = lattice(DENSITY)
    assert words.spans([one[0], one[1], one[2], one[4]], one) == "density=0.1-0.4, 0.8"
    several = lattice(THREE)
    assert words.spans(several[:2], several) == (
        "(density=0.1, scaling=1, alpha=0.3), (density=0.1, scaling=1, alpha=0.5)"
    )
    assert words.spans(several[:9], several).endswith("5 others")
    assert words.spans([], several) == words.spans([], one) == ""


def with_several(result: Result) -> Result:
    """The same, in which several coefficients were found to be better than the choice on the grid."""
    assert result.selection is not None
    assert result.evaluation is not None
    best = Candidate(0.42, (("merge.rules.attn.factor", 1.5),))
    overall = result.selection.overall
    several = Several(overall.candidate, best, 40, 200, 200, (20.0, 2.0), 0.98, 0.9)
    overall = replace(
        overall,
        candidate=best,
        differences=overall.differences | {best: 2.0},
        tied=(best,),
        wins=dict.fromkeys(overall.wins, 0.0) | {several.single: 0.02, best: 0.98},
        several=several,
    )
    scores = {**result.evaluation.candidates, best: Scores(dict.fromkeys(result.tasks, 61.5))}
    return replace(
        result,
        selection=replace(result.selection, overall=overall),
        evaluation=replace(result.evaluation, candidates=scores),
        merged=best,
    )


def test_several_coefficients_are_a_line_across_the_curves_of_the_grid(result: Result) -> None:
    found = with_several(result)
    plain, chart = curves.overall(result), curves.overall(found)
    assert plain is not None
    assert chart is not None
    scores, differences = chart.panels
    assert all("several" in dict(panel.across) for panel in chart.panels)
    assert len(dict(scores.lines)["merged"]) == len(result.candidates)
    assert [spot.kind for spot in scores.spots] == ["oracle"]
    assert not differences.spots
    assert chart.chosen is None
    assert [stop.heading for stop in chart.stops] == [stop.heading for stop in plain.stops]
    for stop in chart.stops:
        assert [value for kind, _, value in stop.rows if kind == "several"] == ["61.5", "2"]
    assert len(curves.per_task(found)) == len(result.tasks)


def test_several_coefficients_have_a_column_of_their_own_and_no_place_on_an_axis(result: Result) -> None:
    found = with_several(result)
    shares = heat.confidence(found)
    assert shares is not None
    assert shares.columns == (*(str(c) for c in result.candidates[1:-1]), "several")
    assert [square.text for square in shares.squares[-1] if square.frame] == ["98%"]
    along, rows = metrics.curves(result), metrics.curves(found)
    assert rows.steps == along.steps
    assert [row["alpha"] for row in rows.rows] == [row["alpha"] for row in along.rows]
    line = metrics.overall(found)
    assert line["all_score"] == pytest.approx(61.5)
    assert line["all_rules_attn_factor"] == 1.5
