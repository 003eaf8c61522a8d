"""The pages in a real headless Chromium: they ask nothing of anyone, and all that can be pressed works."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from browsing import browser
from test_pairing import write

from adamms.evaluate.evaluation import Scores
from adamms.report.compare.pairing import gather
from adamms.report.report import write_comparison, write_report
from adamms.report.result import Result
from adamms.search.choice import Selection

PHONE = {"width": 390, "height": 844}
SCREEN = {"width": 1280, "height": 900}
AA = 4.5  # the least contrast of text, by WCAG 2
KINDS = (
    *("h1", ".fact strong", ".fact span", "p.finding", ".note", "thead th", "td.chosen", ".star", "nav a"),
    *(".heat td.h10", ".run.right", ".run.wrong", ".row .meta", ".code code", "#count", "footer p"),
)

pytestmark = pytest.mark.browser


@dataclass
class Opened:
    """A page in the browser, what it asked for, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    def column(self, table: str, heading: str) -> list[str]:
        """A column of a table, from above, without the marks."""
        headings = self.texts(f"{table} thead th")
        cells = self.page.locator(f"{table} tbody tr > :nth-child({headings.index(heading) + 1})")
        return [text.replace("★", "").partition("\n")[0].strip() for text in cells.all_inner_texts()]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    """Opens a file as someone does who is on a train, and fails at the end if it asked for anything else."""
    found: list[tuple[Path, Opened, Any]] = []

    def open_file(file: Path, scheme: str = "light", **viewport: int) -> Opened:
        context = chromium.new_context(viewport=viewport or SCREEN, color_scheme=scheme, offline=True)
        one = Opened(context.new_page())
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.on("requestfailed", lambda request: one.failed.append((request.url, request.failure)))
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("console", lambda message: one.errors.append(f"{message.type}: {message.text}"))
        one.page.set_default_timeout(15_000)
        one.page.goto(file.as_uri())
        found.append((file, one, context))
        return one

    yield open_file
    for file, one, context in found:
        context.close()
        others = [url for url in one.requests if not url.startswith("data:")]
        assert others == [file.as_uri()]
        assert one.errors == []


@pytest.fixture(scope="module")
def report(answered: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), answered)


def test_what_models_wrote_is_shown_and_never_run(opened: Any, report: Path) -> None:
    one = opened(report)
    one.page.fill("[name=text]", "<SCRIPT>")
    assert one.texts("#count") == ["1 of 62 examples"]
    (shown,) = one.texts("#rows h3")
    assert shown.startswith("Is this <script>window.hacked")
    assert "onerror='window.hacked = true'>" in one.texts("#rows dd")[0]
    assert one.page.locator("h1").inner_text().startswith("demo <script>")
    one.page.locator("#config summary").click()
    assert "</script>" in one.page.locator("#config code").inner_text()
    assert one.page.evaluate("window.hacked") is None


def test_the_policy_stops_whatever_else_would_load_or_run(opened: Any, report: Path) -> None:
    one = opened(report)
    blocked = one.page.evaluate("""() => new Promise(done => {
        const found = [];
        setTimeout(() => done(found), 5000);
        document.addEventListener("securitypolicyviolation", event => {
            found.push(event.effectiveDirective);
            if (found.length === 3) done(found.sort());
        });
        const script = document.createElement("script");
        script.textContent = "window.hacked = true";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "https://example.org/seen.png";
        document.body.append(image);
        fetch("https://example.org/answers").catch(() => {});
    })""")
    assert blocked == ["connect-src", "img-src", "script-src-elem"]
    assert one.page.evaluate("window.hacked") is None
    assert all("Content Security Policy" in error for error in one.errors)
    # An image is announced before the policy stops it, and offline is not why it failed.
    assert one.failed == [("https://example.org/seen.png", "csp")]
    one.requests.remove("https://example.org/seen.png")
    one.errors.clear()


def test_answers_are_filtered_searched_and_ordered(opened: Any, report: Path) -> None:
    one = opened(report)
    count = lambda: one.texts("#count")[0]  # noqa: E731
    assert count() == "41 of 62 examples, the first 24 shown"
    one.page.click("#more")
    assert count() == "41 of 62 examples"
    assert len(one.texts("#rows > li")) == 41
    assert not one.page.is_visible("#more")
    one.page.select_option("[name=change]", "")
    assert count().startswith("62 of 62")
    one.page.select_option("[name=task]", "spell")
    assert count() == "15 of 62 examples"
    assert {text.split(" · ")[0] for text in one.texts("#rows .meta")} == {"spell"}
    # Chosen is 0.3: five are right everywhere, five up to 0.4; the target, at 0, is right in the same ones.
    one.page.select_option("[name=judged]", "right")
    assert count() == "10 of 62 examples"
    one.page.select_option("[name=judged]", "wrong")
    assert count() == "5 of 62 examples"
    one.page.select_option("[name=judged]", "gained")
    assert count() == "0 of 62 examples"
    one.page.select_option("[name=judged]", "")
    one.page.select_option("[name=order]", "given")
    assert one.texts("#rows h3")[:2] == ["What is number 1?", "What is number 5?"]
    one.page.select_option("[name=order]", "changes")
    assert one.texts("#rows h3")[:2] == ["What is number 5?", "What is number 9?"]
    one.page.fill("[name=text]", "NUMBER 41?")
    assert one.texts("#rows h3") == ["What is number 41?"]
    assert one.texts("#rows .run") == ["two ✗", "seven ✓"]


def test_pictures_are_shown_and_can_be_enlarged(opened: Any, report: Path) -> None:
    one = opened(report)
    one.page.select_option("[name=change]", "")
    while one.page.is_visible("#more"):
        one.page.click("#more")
    widths = one.page.evaluate("""async () => {
        const images = [...document.querySelectorAll("#rows img")];
        await Promise.all(images.map(image => image.decode()));
        return images.map(image => [image.naturalWidth, image.clientWidth]);
    }""")
    assert len(widths) == 61
    assert all(natural > 0 and shown > 0 for natural, shown in widths)
    assert sorted({natural for natural, _ in widths}) == [24, 512]
    assert one.texts("#rows .none") == ["image not in this page"]
    assert any("missing.png" in note for note in one.texts("#answers .note"))
    one.page.locator("#rows img").first.press("Enter")
    assert one.page.is_visible("dialog img")
    one.page.locator("dialog img").click()
    assert not one.page.is_visible("dialog img")


def test_a_heading_sorts_its_table(opened: Any, report: Path, answered: Result) -> None:
    one = opened(report)
    table = '#tables [aria-label^="Scores"]'
    heading = one.page.locator(f"{table} th", has_text="mean")
    heading.get_by_role("button").click()
    falling = [float(text) for text in one.column(table, "mean")]
    assert falling == sorted(falling, reverse=True)
    assert answered.evaluation is not None
    assert {f"{s.mean:.1f}" for s in answered.evaluation.candidates.values()} <= set(
        one.column(table, "mean")
    )
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").press("Enter")
    assert [float(text) for text in one.column(table, "mean")] == sorted(falling)
    one.page.locator(f"{table} th", has_text="D").first.get_by_role("button").click()
    numbers = [text for text in one.column(table, "D") if text not in ("", "-")]
    assert [float(text) for text in numbers] == sorted(map(float, numbers), reverse=True)
    assert one.column(table, "D")[-1] in ("", "-")  # what has none comes last
    assert heading.get_attribute("aria-sort") is None


def test_curves_tell_their_values_by_pointer_and_by_keys(opened: Any, report: Path, answered: Result) -> None:
    one = opened(report)
    svg = one.page.locator("#choice .chart svg")
    svg.scroll_into_view_if_needed()  # scrolling hides what is said
    one.page.wait_for_timeout(100)
    svg.locator(".stop").nth(3).hover()
    tip = one.page.locator("#tip")
    assert tip.locator("strong").inner_text() == "alpha 0.3"
    score = answered.score(answered.candidates[3], None)
    assert f"merged\t{score:.1f}" in tip.inner_text()
    svg.focus()
    svg.press("ArrowRight")
    assert tip.locator("strong").inner_text() == "alpha 0"
    svg.press("Escape")
    assert not tip.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_by_day_and_night(opened: Any, report: Path, scheme: str) -> None:
    one = opened(report, scheme, **PHONE)
    one.page.fill("[name=text]", "e")  # rows of all kinds
    one.page.locator("#config summary").click()
    width = one.page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    ratios = one.page.evaluate(Path(__file__).with_name("contrast.js").read_text(encoding="utf-8"), KINDS)
    assert {kind: round(ratio, 2) for kind, ratio in ratios.items() if ratio < AA} == {}
    background = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")


# Whether every row of cards reaches both sides; of the first so many cards.
ROWS = """count => {
    const facts = document.querySelector(".facts"), rows = {}, all = facts.getBoundingClientRect();
    [...facts.children].forEach((card, place) => { if (place >= count) card.remove(); });
    for (const card of facts.children) {
        const box = card.getBoundingClientRect(), row = rows[Math.round(box.top)] ??= { left: 1e9, right: 0 };
        row.left = Math.min(row.left, box.left);
        row.right = Math.max(row.right, box.right);
    }
    const near = (a, b) => Math.abs(a - b) < 2;
    return Object.values(rows).every(row => near(row.left, all.left) && near(row.right, all.right));
}"""
# Titles of axes that touch a name or a number beside the axis.
TOUCHED = """() => [...document.querySelectorAll(".chart svg")].flatMap(svg => {
    const boxes = name => [...svg.querySelectorAll(name)].map(text => [text, text.getBoundingClientRect()]);
    return boxes(".label").flatMap(([label, a]) => boxes(".tick")
        .filter(([, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
        .map(([tick]) => `${label.textContent} and ${tick.textContent}`));
})"""


@pytest.mark.parametrize("width", [1400, 900, 390])
def test_no_card_is_left_alone_and_titles_of_axes_stand_clear(opened: Any, report: Path, width: int) -> None:
    one = opened(report, width=width, height=900)
    assert one.page.evaluate(TOUCHED) == []
    assert one.page.locator(".fact").first.get_attribute("class").split()[-1] == "lead"
    assert one.page.locator(".fact").count() == 6
    alone = [count for count in (6, 5, 4, 3, 2) if not one.page.evaluate(ROWS, count)]
    assert alone == []


def test_what_is_hidden_at_a_side_throws_a_shadow(opened: Any, report: Path) -> None:
    one = opened(report, **PHONE)
    table = one.page.locator('.scroll[aria-label^="Share of the bootstrap"]')
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    assert table.evaluate("e => getComputedStyle(e).backgroundAttachment") == "local, local, scroll, scroll"


def test_it_prints_whole_in_colour_and_on_white(opened: Any, report: Path) -> None:
    """On A4 with 12 mm at the sides."""
    one = opened(report, "dark", width=703, height=1000)
    one.page.emulate_media(media="print", color_scheme="dark")
    widths = "all => all.map(element => element.scrollWidth - element.clientWidth)"
    assert max(one.page.locator(".scroll, figure").evaluate_all(widths)) <= 1
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 703
    assert not one.page.is_visible("nav")
    style = "e => { const s = getComputedStyle(e); return [s.backgroundColor, s.printColorAdjust]; }"
    assert one.page.locator("body").evaluate(style) == ["rgb(255, 255, 255)", "exact"]
    shaded = one.page.locator(".heat td.h10").first.evaluate(style)
    assert shaded[1] == "exact"
    assert shaded[0] not in ("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)")


@pytest.fixture(scope="module")
def multirun(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three searches of a multirun leave, one of which has failed."""
    assert result.selection is not None
    assert result.evaluation is not None
    tmp_path = tmp_path_factory.mktemp("multirun")
    for number, rule in enumerate(("sum", "either", "previous")):
        folder = tmp_path / "multi run" / str(number)
        folder.mkdir(parents=True)
        job = {"number": number, "overrides": ["merge=linear", f"search.rule={rule}"], "mode": "search"}
        state = {"output": str(folder), "state": "done", "seconds": 100.0 - number}
        (folder / "job.json").write_text(
            json.dumps(job | state | ({"state": "failed"} if number == 2 else {}))
        )
        if number < 2:
            candidate = result.candidates[3 + 2 * number]
            overall = replace(result.selection.overall, candidate=candidate)
            selection = Selection(result.selection.tasks, overall)
            write_report(folder, replace(result, selection=selection))
    return write_comparison(gather([tmp_path / "multi run"], tmp_path / "multi run"))


def test_the_comparison_says_what_is_best_sorts_links_and_shows_one_search_among_the_curves(
    opened: Any, multirun: Path
) -> None:
    one = opened(multirun)
    table = "#overview table"
    assert one.texts("header .verdict")[0].startswith("By accuracy, rule=")
    assert one.column(table, "model") == ["rule=either", "rule=sum", "donor a alone", "target alone"]
    one.page.locator(f"{table} th", has_text="mean").get_by_role("button").click()
    one.page.locator(f"{table} th", has_text="mean").get_by_role("button").click()
    assert one.column(table, "model")[0] == "target alone"
    assert any("run 2 (multi run/2): failed" in line for line in one.texts("#overview li"))
    one.page.locator("#searches tbody tr", has_text="either").hover()
    shown = one.page.eval_on_selector_all(
        ".together .panel polyline",
        "all => Object.fromEntries(all.map(e => [/j\\d/.exec(e.classList)[0], e.matches('.dim .on')]))",
    )
    assert shown == {"j0": False, "j1": True}
    link = one.page.locator(f"{table} a", has_text="either")
    target = (multirun.parent / "1/report.html").as_uri()
    assert link.evaluate("link => link.href") == target


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_comparison_fits_a_phone(opened: Any, multirun: Path, scheme: str) -> None:
    one = opened(multirun, scheme, **PHONE)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_comparison_of_many_tasks_prints_whole(opened: Any, tmp_path: Path) -> None:
    tasks = {f"successor of digits {n}": {f"{n} {k}": float(k > n) for k in range(20)} for n in range(8)}
    for name in ("one", "other"):
        model = Path(f"/models/{name}")
        write(tmp_path / name, Result("", scores=Scores.of(tasks), measure="accuracy", evaluated=model))
    one = opened(write_comparison(gather([tmp_path], tmp_path / "out")), width=703, height=1000)
    one.page.emulate_media(media="print")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 703
