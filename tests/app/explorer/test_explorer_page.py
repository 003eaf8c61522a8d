"""The explorer's page in a real headless Chromium, with the tiny models behind it."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from browsing import browser
from exploring import RUN, exploring, given, responded, serving
from PIL import Image

from adamms.app.explorer.explorer import Explorer
from adamms.merge.candidate import Candidate

MERGE, ALPHA = ".said.merge .text", "#dial-alpha input"

pytestmark = pytest.mark.browser


@dataclass
class Served:
    """The page in a browser that reaches nothing but this machine.

    Args:
        explorer: another one of the same models, with a store of its own.
        elsewhere: what it asked others for; they were not asked.
        folder: where the program works.
        address: of the page.
    """

    page: Any
    explorer: Explorer
    elsewhere: list[str]
    folder: Path
    address: str

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.inner_text())

    def shows(self, selector: str, text: str) -> None:
        """Wait until there is an element with this text."""
        self.page.locator(selector, has_text=text).first.wait_for()

    def turn(self, alpha: str) -> None:
        """Type a number beside the slider; wait for the answer."""
        box = self.page.locator(f"{ALPHA}[type=number]")
        box.fill(alpha)
        box.press("Enter")
        self.shows(".said.merge h3", f"alpha {alpha}")
        self.page.locator(MERGE).wait_for()


@pytest.fixture(scope="module")
def served(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    arguments = given(talkative, folder, "mode.examples=2", "mode.likeliest=3")
    with (
        exploring(talkative, folder, f"store={folder / 'other store'}") as (explorer, _, _),
        serving(folder, *RUN, "mode=explore", *arguments) as (address, _),
        browser() as chromium,
    ):
        elsewhere: list[str] = []

        def only_here(route: Any) -> None:
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                elsewhere.append(route.request.url)
                route.abort()

        page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.route("**/*", only_here)
        page.set_default_timeout(30_000)
        page.goto(address)
        yield Served(page, explorer, elsewhere, folder, address)


@pytest.fixture
def said(served: Served) -> Callable[[str], str]:
    """What the explorer itself answers to the first example."""
    example = next(iter(served.explorer.examples.values()))
    return lambda alpha: served.explorer.merged(Candidate(float(alpha)), example).text


def test_it_begins_with_answers_and_asks_nobody_else(served: Served, said: Callable[[str], str]) -> None:
    served.shows(".strip figcaption", "Along alpha: the")
    assert served.text(MERGE) == said("0.3")
    assert served.text(".said.target .text") == said("0")
    assert served.page.locator(".strip li b").all_inner_texts() == [
        said(a) for a in ("0", "0.25", "0.5", "1")
    ]
    assert served.page.locator(".said.donor .token").count() > 0
    assert served.page.locator("#picture img").evaluate("image => image.naturalWidth") > 0
    assert served.elsewhere == []
    with pytest.raises(HTTPError, match="404"):  # it is not where one would guess
        urllib.request.urlopen(served.address.rpartition("/")[0] + "/config")


def test_the_slider_moves_and_the_answer_is_that_at_its_alpha(
    served: Served, said: Callable[[str], str], talkative: Path
) -> None:
    for alpha in ("0.02", "0.777", "1"):
        served.turn(alpha)
        assert served.text(MERGE) == said(alpha)
    name = next(iter(served.explorer.examples))
    assert said("0.777") == responded(talkative, served.folder, "0.777")[name]
    slider = served.page.locator(f"{ALPHA}[type=range]")
    slider.focus()
    for _ in range(8):
        slider.press("ArrowLeft")
    served.shows(".said.merge h3", "alpha 0.92")
    assert served.text(MERGE) == said("0.92")
    box = slider.bounding_box()
    served.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    served.shows(".said.merge h3", "alpha 0.5")
    assert served.text(MERGE) == said("0.5")
    served.shows(".strip li[aria-current=true] span", "0.5")


def test_a_number_out_of_range_is_its_end_and_none_is_told(
    served: Served, said: Callable[[str], str]
) -> None:
    box = served.page.locator(f"{ALPHA}[type=number]")
    box.fill("-3")
    box.press("Enter")
    served.page.locator(".said.merge h3", has_text=re.compile("alpha 0$")).wait_for()
    assert served.text(MERGE) == said("0")
    box.fill("")
    box.press("Enter")
    served.shows("#notice [role=alert]", "alpha has no value; give one from 0 to 1")
    served.turn("0.5")
    assert served.page.locator("#notice .notice").count() == 0


def test_an_upload_is_answered_and_a_broken_one_is_told(served: Served, tmp_path: Path) -> None:
    Image.effect_noise((64, 48), 60).save(tmp_path / "mine.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "mine.png").read_bytes()[:300])
    upload = served.page.locator("#upload input[type=file]")
    upload.set_input_files(tmp_path / "torn.png")
    served.shows("#notice [role=alert]", "torn.png does not decode")
    served.page.locator(".said").wait_for(state="detached")
    served.page.locator("#upload").get_by_label("Clear").click()
    served.page.locator(MERGE).wait_for()
    served.page.locator("#notice .notice").wait_for(state="detached")
    upload.set_input_files(tmp_path / "mine.png")
    served.shows(".said.donor .note", "Not asked yet")
    own = served.explorer.own(served.page.locator("#question textarea").input_value(), tmp_path / "mine.png")
    at = Candidate(float(served.page.locator(f"{ALPHA}[type=number]").input_value()))
    assert served.text(MERGE) == served.explorer.merged(at, own).text
    served.page.click("#donors")
    served.page.locator(".said.donor .text").wait_for()
    assert served.elsewhere == []


def test_a_picture_of_the_data_is_chosen_and_a_setting_is_used(served: Served) -> None:
    served.page.locator("#gallery button").nth(3).click()
    example = list(served.explorer.examples.values())[3]
    served.page.wait_for_function(
        "wanted => document.querySelector('#question textarea').value == wanted", arg=example.question
    )
    served.turn("0.4")
    assert served.text(MERGE) == served.explorer.merged(Candidate(0.4), example).text
    served.page.click("#use")
    served.shows("#notice [role=status]", "0.4: the merged model is in")
    assert (served.folder / "out/0.4/model/model.safetensors").exists()


def test_it_fits_a_phone(served: Served) -> None:
    served.page.set_viewport_size({"width": 390, "height": 844})
    assert served.page.evaluate("document.documentElement.scrollWidth") <= 390
