"""`report.html` and `comparison.html` as text and data: what is in them, and what is left out with a word."""

import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from films import film
from page_text import Page
from PIL import Image

from adamms.data.example import Example, Video
from adamms.evaluate.evaluation import Evaluation
from adamms.evaluate.foreign.results import Metric, ToolResults
from adamms.mapping.checks.distance import Distances, TensorDistance
from adamms.merge.candidate import Candidate
from adamms.report.answered import Answered
from adamms.report.page import curves, heat
from adamms.report.page.answers import MOST_TEXT, answers, changes
from adamms.report.page.charts import round_values
from adamms.report.page.images import SIDE, Album
from adamms.report.plan_tables import MOST_ROLES
from adamms.report.report import write_report
from adamms.report.result import Result


class Elements(HTMLParser):
    """Names and attributes of everything in a page, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)


def written(result: Result, folder: Path) -> str:
    return write_report(folder, result).read_text(encoding="utf-8")


def test_nothing_in_the_page_is_elsewhere_and_nothing_given_is_markup(answered: Result, tmp_path: Path):
    text = written(answered, tmp_path)
    page = Elements(text)
    links = [a[key] or "" for _, a in page.found for key in ("src", "href", "action", "srcset") if key in a]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not [a for _, a in page.found if any(key.startswith("on") or key == "style" for key in a)]
    assert [a.get("type") for tag, a in page.found if tag == "script"] == ["application/json", None, None]
    assert not [tag for tag, _ in page.found if tag == "img"]  # the script makes them
    policy = next(a["content"] for _, a in page.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "url(" not in text.split("<style>")[1].split("</style>")[0]


def test_sections_are_there_for_what_the_run_has(answered: Result, tmp_path: Path):
    def sections(result: Result) -> list[str]:
        text = written(result, tmp_path)
        found = re.findall(r'<section id="(\w+)"', text)
        linked = re.findall(r'<li><a href="#(\w+)"', text)
        assert set(linked) <= set(found)
        return found

    everything = ["choice", "about", "curves", "tables", "answers", "mapping", "distances", "time", "load"]
    assert sections(answered) == [*everything, "config"]
    merged = replace(answered, selection=None, evaluation=None, answered=(), command="", config="")
    assert sections(merged) == ["about", "mapping", "distances", "time", "load"]
    assert "plan.verify=true" in written(replace(merged, checks=None), tmp_path)
    scored = replace(answered, selection=None, answered=(), config="")
    assert sections(scored) == ["choice", *everything[1:4], *everything[5:]]


def test_what_lmms_eval_found_is_a_table(tmp_path: Path):
    numbers = (Metric("mme<b>", "perception", "none", 0.25, None, 10),)
    text = written(
        Result("t", tools={"lmms_eval": ToolResults("0.7.3", "vllm", tmp_path, numbers, ())}), tmp_path
    )
    assert "lmms-eval 0.7.3, vllm" in text
    assert "mme&lt;b&gt;" in text
    assert "0.25" in text


def test_without_labels_the_page_does_not_talk_of_scores(answered: Result, tmp_path: Path):
    rows = tuple(replace(one, label=None) for one in answered.answered)
    text = written(replace(answered, evaluation=None, answered=rows), tmp_path).split("<script>")[0]
    for word in ("oracle", "regret", "By labels", "by labels", 'name="judged"', "Mean accuracy"):
        assert word not in text.split("</style>")[1], word


def test_answers_come_once_with_who_gave_them(answered: Result):
    found = answers(answered)
    assert found is not None
    assert (len(found.data["rows"]), found.changed, found.labelled) == (62, 41, True)
    assert found.data["candidates"] == [
        str(step / 10) if step % 10 else str(step // 10) for step in range(11)
    ]
    assert (found.data["chosen"], found.data["base"]) == (3, 0)
    rows = {row["id"]: row for row in found.data["rows"]}
    given = answered.answered
    assert list(rows) == [one.example.id for one in given]
    row = rows["example-4"]  # right from 0.5 on
    assert (row["texts"], row["right"], row["changes"]) == (["two", "seven"], [0.0, 1.0], 1)
    assert row["given"] == [0] * 5 + [1] * 6
    assert rows["lost"]["right"] == [None]
    assert rows["hostile"]["texts"][1].endswith(
        f"({len(given[60].texts[Candidate(0.5)]) - MOST_TEXT} more characters)"
    )


def test_of_a_thought_the_page_shows_how_long_it_is(answered: Result):
    texts = {Candidate(0.0): "<think>a b</think> red", Candidate(0.1): "red"}
    given = replace(answered.answered[0], texts=texts)
    found = answers(replace(answered, answered=(given,)))
    assert found is not None
    assert found.data["rows"][0]["texts"] == ["[thought of 2 words] red", "red"]
    assert found.data["rows"][0]["changes"] == 0


def test_answers_change_where_the_search_says_so():
    grid, example = [Candidate(0.0), Candidate(0.1), Candidate(0.2), Candidate(0.3)], Example("1", "t", "q")
    one = Answered(example, dict(zip(grid, ("Yes,  it is", " yes, IT is ", "no", "No"), strict=True)))
    assert changes(one, grid, ordered=True) == 1  # neither case nor white space makes another answer
    assert changes(one, grid, ordered=False) == 1


def test_pictures_are_in_the_page_once_and_not_too_large(answered: Result):
    found = answers(answered)
    assert found is not None
    images = found.data["images"]
    assert len(images) == 31  # 60 files of 30 colours, and the large one
    rows = {row["id"]: row for row in found.data["rows"]}
    assert rows["example-0"]["images"] == rows["example-1"]["images"] != rows["example-2"]["images"]
    large = b64decode(images[rows["hostile"]["images"][0]].partition(",")[2])
    with Image.open(BytesIO(large)) as picture:
        assert picture.size == (SIDE, SIDE * 2 // 3)
    assert rows["lost"]["images"] == [None]
    assert rows["lost"]["columns"] == {}
    assert rows["hostile"]["columns"].keys() == {"source"}
    assert any("1 images could not be read" in note and "missing.png" in note for note in found.notes)


def test_what_there_is_no_room_for_is_said(answered: Result):
    small = answers(answered, room=2_500, album=Album(room=1_000))
    assert small is not None
    shown = len(small.data["rows"])
    assert shown < 62
    assert any(note.startswith(f"{62 - shown} examples are not in this page") for note in small.notes)
    assert any("images are not in this page" in note for note in small.notes)
    assert {row["changes"] for row in small.data["rows"]} == {1}  # those that change come first
    assert sum(map(len, small.data["images"])) <= 1_000
    assert small.notes[-1] == "answers.jsonl beside this page has all."


def test_damaged_and_odd_pictures_are_no_obstacle(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with Image.new("LA", (700, 20), (9, 0)) as picture:
        picture.save(tmp_path / "clear.png")
    album = Album()
    assert album.place(tmp_path / "broken.png") is None
    assert list(album.unreadable) == [tmp_path / "broken.png"]
    assert album.place(tmp_path / "clear.png") == 0
    with Image.open(BytesIO(b64decode(album.addresses[0].partition(",")[2]))) as flat:
        assert flat.size == (SIDE, 15)
        assert flat.getpixel((0, 0)) == (255, 255, 255)  # as the models see what is transparent


@pytest.mark.parametrize(("name", "kind"), [("photo.JPG", "jpeg"), ("chart.png", "png")])
def test_a_small_picture_goes_in_as_what_it_is(tmp_path: Path, name: str, kind: str) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / name)
    album = Album()
    album.place(tmp_path / name)
    assert album.addresses[0].startswith(f"data:image/{kind};base64,")


def test_curves_say_the_numbers_of_the_data(result: Result):
    assert result.evaluation is not None
    assert result.selection is not None
    chart = curves.overall(result)
    assert chart is not None
    told = {stop.heading: {name: value for _, name, value in stop.rows} for stop in chart.stops}
    assert list(told) == [f"alpha {candidate}" for candidate in result.candidates]
    for candidate, scores in result.evaluation.candidates.items():
        stop = told[f"alpha {candidate}"]
        assert stop["merged"] == f"{scores.mean:.1f}"
        assert stop["control, no donor"] == f"{result.evaluation.control[candidate].mean:.1f}"
        assert stop["donor a alone"] == f"{result.evaluation.donors['a'].mean:.1f}"
        difference = result.selection.overall.differences.get(candidate)
        assert stop.get("D, changed answers") == (None if difference is None else f"{difference:.0f}")
    assert sum(stop.width for stop in chart.stops) == pytest.approx(chart.right - chart.left, abs=0.6)
    assert len(curves.per_task(result)) == len(result.tasks)


def test_bands_are_the_intervals_around_the_curves(pointed: Result):
    assert pointed.selection is not None
    chart = curves.overall(pointed)
    assert chart is not None
    scores, differences = chart.panels
    for panel, kind, count in ((scores, "merged", 11), (differences, "d", 9)):
        line, band = dict(panel.lines)[kind], dict(panel.bands)[kind]
        low, high = band[:count], band[count:][::-1]
        for (x, y), (_, below), (at, above) in zip(line, low, high, strict=True):
            assert x == at
            assert panel.bottom >= below >= y >= above >= panel.top
    told = {stop.heading: {name: value for _, name, value in stop.rows} for stop in chart.stops}["alpha 0.3"]
    mean = pointed.scores_of(Candidate(0.3)).estimate()
    assert mean is not None
    assert mean.interval is not None
    assert told["merged"] == "{:.1f} ({:.1f} to {:.1f})".format(mean.value, *mean.interval)
    least, most = pointed.selection.overall.intervals[Candidate(0.3)]
    assert told["D, changed answers"].endswith(f" ({least:.0f} to {most:.0f})")
    for name, own in (
        ("target alone", pointed.target_scores),
        ("control, no donor", pointed.scored.control[Candidate(0.3)]),
        ("donor a alone", pointed.scored.donors["a"]),
    ):
        found = own.estimate()
        assert found is not None
        assert found.interval is not None
        assert told[name] == "{:.1f} ({:.1f} to {:.1f})".format(found.value, *found.interval)


TITLE = "The choice, one winner per task and one for all"


def test_numbers_come_with_their_standard_errors(pointed: Result, tmp_path: Path):
    page = Page(write_report(tmp_path, pointed))
    mean, read = (pointed.target_scores.estimate(task) for task in (None, "read"))
    assert mean is not None
    assert read is not None
    scores = page.tables["Scores (accuracy, %) by labels that the search never saw"]
    target = next(row for row in scores if "0 target" in row)
    assert target[1] == f"{mean.value:.1f}± {mean.error:.1f}"
    assert target[3] == f"{read.value:.1f}± {read.error:.1f}"
    assert pointed.better_parent is not None
    parent = pointed.better_parent[1].estimate()
    assert parent is not None
    assert f" alone has {parent.value:.1f} ± {parent.error:.1f}" in page.text
    assert pointed.selection is not None
    overall = pointed.selection.overall
    low, high = overall.intervals[overall.candidate]
    row = next(row for row in page.tables[TITLE] if row[0] == "ALL TASKS")
    assert f"{overall.differences[overall.candidate]:.0f}({low:.0f} to {high:.0f})" in row
    assert "± is one standard error over the 400 labelled examples" in page.text
    assert Result.from_json(json.loads((tmp_path / "result.json").read_text())) == pointed


def test_higher_scores_are_drawn_higher_on_one_scale(result: Result):
    charts = curves.per_task(result)
    for chart, task in zip(charts, result.tasks, strict=True):
        panel = chart.panels[0]
        heights = [y for _, y in dict(panel.lines)["merged"]]
        scores = [result.score(candidate, task) for candidate in result.candidates]
        assert sorted(range(11), key=lambda i: (-heights[i], i)) == sorted(
            range(11), key=lambda i: (scores[i], i)
        )
        assert all(panel.top <= height <= panel.bottom for height in heights)
        assert panel.ticks == charts[0].panels[0].ticks


def test_axes_have_round_values():
    assert round_values(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert round_values(68.2, 97.1) == [70, 80, 90]
    assert round_values(-3, 54) == [0, 20, 40]


def test_shades_grow_with_distance_and_are_alike_for_all_models(answered: Result):
    assert answered.checks is not None
    donor, ancestor = heat.distances(answered.checks)
    assert donor.columns == ("0", "1", "2", "3")
    assert donor.rows == ("attn.q.weight", "mlp.up.weight")
    shades = [square.shade for square in donor.squares[0]]
    assert shades == sorted(shades)  # type: ignore[type-var]
    assert shades[-1] == 10
    assert ancestor.squares[0][1].shade == donor.squares[0][0].shade  # 0.02 in both
    assert "model.layers.3.attn.q.weight: distance 0.08, cosine 0.90" in donor.squares[0][3].words


def test_of_very_many_roles_the_farthest_are_shown_and_the_rest_counted():
    checks = [
        TensorDistance(f"t{i}", "a", f"role{i}", None, 0.5, 0.001 * (i + 1)) for i in range(MOST_ROLES + 5)
    ]
    (found,) = heat.distances(
        Distances((*checks, TensorDistance("t", "a", "odd", 3, None, None, problem="bad")))
    )
    assert found.rows[:2] == ("odd", "role6")  # distances from 0.007 on, but what is wrong comes first
    assert found.squares[0][0].frame == "problem"
    assert len(found.rows) == MOST_ROLES
    assert "6 others are left out" in found.note


def test_a_page_of_several_axes_has_maps_instead_of_curves(result: Result, tmp_path: Path):
    grid = [Candidate(a, (("merge.density", d),)) for d in (0.2, 0.4, 0.8) for a in (0.1, 0.3, 0.5)]
    assert result.evaluation is not None
    assert result.selection is not None
    scores = next(iter(result.evaluation.candidates.values()))
    chosen = replace(
        *(result.selection.overall,),
        candidate=grid[4],
        differences={c: float(i) for i, c in enumerate(grid)},
        tied=(grid[4],),
        wins={grid[4]: 1.0},
    )
    selection = replace(result.selection, tasks={"read": chosen}, overall=chosen)
    evaluation = Evaluation(dict.fromkeys(grid, scores), {}, {})
    found = replace(result, selection=selection, evaluation=evaluation)
    assert curves.overall(found) is None
    difference, mean = heat.surfaces(found)
    assert difference.rows == ("0.1", "0.3", "0.5") or difference.rows == ("0.2", "0.4", "0.8")
    framed = [square for row in difference.squares for square in row if square.frame == "chosen"]
    assert [square.text for square in framed] == ["4"]
    assert {square.shade for row in difference.squares for square in row if square.text == "0"} == {10}
    assert mean.most == f"{scores.mean:.1f}"
    assert 'class="heat difference' in written(found, tmp_path)


def test_letters_that_no_file_can_hold_do_not_end_a_run(answered: Result, tmp_path: Path):
    odd = replace(answered.answered[0], texts={Candidate(0.0): "half a letter: \ud83d"})
    data = written(replace(answered, answered=(odd,)), tmp_path).split('id="answers-data">')[1]
    assert json.loads(data.partition("</script>")[0])["rows"][0]["texts"] == ["half a letter: ?"]


def test_a_video_is_its_first_frame(answered: Result, tmp_path: Path):
    one = answered.answered[0]
    clip = Video((film(tmp_path / "a.mp4"),))
    gone = Video((tmp_path / "gone.mp4",))
    given = (
        replace(one, example=replace(one.example, video=clip)),
        replace(one, example=replace(one.example, id="lost", image=None, video=gone)),
        replace(one, example=replace(one.example, id="still")),
    )
    found = answers(replace(answered, answered=given))
    assert found is not None
    rows = {row["id"]: row for row in found.data["rows"]}
    first = rows[one.example.id]
    assert [rows["still"]["video"], first["video"], rows["lost"]["video"]] == [False, True, True]
    assert first["images"][0] == rows["still"]["images"][0]
    with Image.open(BytesIO(b64decode(found.data["images"][first["images"][1]].partition(",")[2]))) as frame:
        assert frame.size == (48, 32)
    assert rows["lost"]["images"] == [None]
    assert any("gone.mp4: no such file" in note for note in found.notes)
