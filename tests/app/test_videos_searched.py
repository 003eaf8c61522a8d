"""A whole search on questions with videos: what is asked, stored, shown and refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import STRANGERS, pair
from films import asked, film, filmed_models

from adamms.app.modes import search
from adamms.data.example import Video


@pytest.fixture(scope="module")
def filmed(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filmed_models(talkative, tmp_path_factory.mktemp("filmed"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions with videos, frames, an image, and none of them; with answers."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for example in asked(folder / "films").values():
        row = {"id": example.id, "question": example.question, "answer": "two"}
        row |= {"image": str(example.image)} if example.image else {}
        if isinstance(example.video, Video):
            files = list(map(str, example.video.files))
            row |= {"video": files if example.video.of_frames else files[0]}
        rows.append(row)
    (folder / "q.json").write_text(json.dumps(rows))
    return folder / "q.json"


def settings(models: Path, data: Path, out: Path, *more: str) -> list[str]:
    return [
        *("mode=search", *pair(models), "data=file", f"data.path={data}", "search.grid=[0,0.5,1]", STRANGERS),
        *("engine.max_new_tokens=4", "engine.accelerator=cpu", f"store={out.parent / 'store'}"),
        *(f"output={out}", *more),
    ]


def test_a_search_asks_keeps_and_shows_videos(
    run: Callable[..., object], filmed: Path, data: Path, tmp_path: Path
) -> None:
    done = run(*settings(filmed, data, tmp_path / "one"))
    assert done.status == 0, done.err
    answers = [json.loads(line) for line in (tmp_path / "one/answers.jsonl").read_text().splitlines()]
    clips = {row["id"]: row.get("video") for row in answers}
    assert clips["one"].endswith("1.mp4")
    assert clips["two"].endswith("2.mkv")
    assert len(clips["frames"]) == 5
    assert clips["still"] is clips["text"] is None
    page = (tmp_path / "one/report.html").read_text()
    assert page.count('"video":true') == 4
    again = run(*settings(filmed, data, tmp_path / "two"))
    found, made = stored(again.out)
    assert (found >= 3 * len(answers), made) == (True, 0)
    fewer = run(*settings(filmed, data, tmp_path / "three", "engine.video_frames=4"))
    # The two questions without a video are the same ones.
    assert stored(fewer.out) == (found // 3, found - found // 3)


def stored(printed: str) -> tuple[int, int]:
    """How many answers of candidates and of the donor the store had, and how many were generated."""
    said = re.findall(r"(\d+) answers were there, (\d+)\s+were generated", printed)
    assert said, printed[-1500:]
    return sum(int(found) for found, _ in said), sum(int(made) for _, made in said)


def test_a_search_for_stability_changes_videos(
    run: Callable[..., object], filmed: Path, data: Path, tmp_path: Path
) -> None:
    done = run(*settings(filmed, data, tmp_path / "out", "search/signal=stability", "evaluate=none"))
    assert done.status == 0, done.err
    assert "search disturbed" in done.out


def test_what_cannot_be_asked_is_told_with_its_line_before_mapping(
    run: Callable[..., object],
    filmed: Path,
    talkative: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A target whose template has no place, and one that has, with a video that is broken."""
    monkeypatch.setattr(search, "map_models", lambda *_: pytest.fail("the models were mapped"))
    done = run(*settings(talkative, data, tmp_path / "out"))
    assert done.status == 2
    assert "q.json, row 1: it has a video, for which the chat template has no place" in done.err
    assert 'Give its frames as several images: "images":' in done.err
    film(tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:300])
    rows = [{"question": "largest digit", "video": f"{name}.mp4"} for name in ("good", "bad")]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = run(*settings(filmed, tmp_path / "q.jsonl", tmp_path / "out"))
    assert done.status == 2
    assert "q.jsonl, line 2: video " in done.err
    assert "bad.mp4 does not decode" in done.err
    assert "line 1" not in done.err
