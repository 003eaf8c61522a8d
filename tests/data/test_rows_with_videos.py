"""Rows with a video, in every way that people write one: a path, frames, conversations, bytes, addresses."""

import json
from base64 import b64encode
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configured import configured
from films import film
from PIL import Image

from adamms.data.downloads import Downloads
from adamms.data.example import Example, Video
from adamms.data.fields import placed
from adamms.data.file import File
from adamms.errors import AdammsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    film(folder / "a.mp4")
    for number in range(3):
        Image.new("RGB", (4, 3), (number,) * 3).save(folder / f"{number}.png")
    return folder


def read(folder: Path, *rows: Any, **values: Any) -> list[Example]:
    (folder / "q.json").write_text(json.dumps(rows))
    return loaded(configured("data/file", path=str(folder / "q.json"), pictures=folder / "kept", **values))


def loaded(file: File) -> list[Example]:
    found = file.load()
    return list(found.written(found.unwritten, lambda _: None).examples)


def human(value: str, **more: Any) -> dict[str, Any]:
    return more | {"conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": "red"}]}


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}, {"role": "assistant", "content": "red"}]}


TEXT = {"type": "text", "text": "What?"}


@pytest.mark.parametrize(
    "row",
    [
        {"question": "What?", "video": "a.mp4"},
        {"question": "What?", "videos": ["a.mp4"]},
        {"question": "<video>\nWhat?", "video": "a.mp4"},
        {"question": "What?\n<video>", "video": "a.mp4"},
        human("<video>\nWhat?", video="a.mp4"),
        human("<image>\nWhat?", video="a.mp4"),  # as LLaVA-Video's data have it
        human("What?", video="a.mp4"),
        user({"type": "video_url", "video_url": {"url": "a.mp4"}}, TEXT),
        user({"type": "video", "video": "a.mp4"}, TEXT),
        user({"type": "input_video", "video_url": "a.mp4"}, TEXT),
        user({"type": "video"}, TEXT) | {"video": "a.mp4"},
    ],
)
def test_a_path_of_a_video(folder: Path, row: dict[str, Any]) -> None:
    (example,) = read(folder, row)
    assert (example.question, example.image, example.video) == ("What?", None, Video((folder / "a.mp4",)))
    assert example.parts == (Video((folder / "a.mp4",)), "What?")


@pytest.mark.parametrize(
    "row",
    [
        {"question": "What?", "video": ["0.png", "1.png", "2.png"]},
        {"question": "What?", "videos": [["0.png", "1.png", "2.png"]]},
        human("<video>\nWhat?", video=["0.png", "1.png", "2.png"]),
        user({"type": "video", "video": ["0.png", "1.png", "2.png"]}, TEXT),
    ],
)
def test_frames_as_pictures(folder: Path, row: dict[str, Any]) -> None:
    (example,) = read(folder, row)
    assert example.images == ()
    assert example.video == Video(tuple(folder / f"{n}.png" for n in range(3)), of_frames=True)


def test_a_column_that_is_no_video(folder: Path) -> None:
    row = {"question": "What?", "video": "third take", "videos": "many", "image": "0.png"}
    with pytest.raises(AdammsError, match="row 1"):
        read(folder, row)
    columns = {"video": None, "videos": None}
    (folder / "q.json").write_text(json.dumps([row]))
    file = configured("data/file", path=str(folder / "q.json"), pictures=folder / "kept", columns=columns)
    found = file.load()
    assert found.examples[0].video is None
    assert list(found.columns.values()) == [{"video": "third take", "videos": "many"}]


def test_videos_and_images_keep_their_places(folder: Path) -> None:
    between, before, first, marked = read(
        folder,
        {"question": "Is <image> in <video>?", "image": "0.png", "video": "a.mp4"},
        {"question": "What?", "images": ["0.png", "1.png"], "video": "a.mp4"},
        user({"type": "video", "video": "a.mp4"}, {"type": "image", "image": "0.png"}, TEXT),
        {"question": "What is <video>?", "image": "0.png", "video": "a.mp4"},
    )
    image, second, clip = folder / "0.png", folder / "1.png", Video((folder / "a.mp4",))
    assert between.parts == ("Is ", image, " in ", clip, "?")
    assert before.parts == (image, second, clip, "What?")
    assert [part for part in first.parts if not isinstance(part, str)] == [clip, image]
    assert marked.parts == (image, "\nWhat is ", clip, "?")
    with pytest.raises(AdammsError, match="<video> 2 times, and there are 1 videos"):
        placed("<video> and <video>", 0, 1)


def test_the_video_itself_in_the_data(folder: Path, tmp_path: Path) -> None:
    content = (folder / "a.mp4").read_bytes()
    column = pa.array(
        [{"bytes": content, "path": "a.mp4"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    pq.write_table(pa.table({"question": ["What?"], "video": column}), tmp_path / "q.parquet")
    address = f"data:video/mp4;base64,{b64encode(content).decode()}"
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "What?", "video": address}))
    for name in ("q.parquet", "q.jsonl"):
        (example,) = loaded(configured("data/file", path=str(tmp_path / name), pictures=tmp_path / "kept"))
        assert example.video is not None
        (file,) = example.video.files
        assert (file.suffix, file.read_bytes()) == (".mp4", content)


def test_an_avi_is_no_picture(folder: Path, tmp_path: Path) -> None:
    """AVI and WebP begin alike."""
    content = b64encode(film(tmp_path / "a.avi", count=2).read_bytes()).decode()
    address = f"data:video/avi;base64,{content}"
    with pytest.raises(AdammsError, match=r"row 1: image .*its base64 is no picture"):
        read(folder, {"question": "What?", "image": address})
    (example,) = read(folder, {"question": "What?", "video": address})
    assert example.video is not None
    assert example.video.files[0].suffix == ".avi"


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def log_message(self, *given: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_video_by_its_address_only_if_that_is_allowed(folder: Path, server: str) -> None:
    row = user({"type": "video_url", "video_url": {"url": f"{server}/a.mp4"}}, TEXT)
    with pytest.raises(AdammsError, match=r"row 1: video http.*a\.mp4: nothing is downloaded unless"):
        read(folder, row)
    allowed = Downloads(allowed=True, seconds=20, most_mb=1)
    (example,) = read(folder, row, downloads=allowed)
    assert example.video is not None
    assert example.video.files[0].read_bytes() == (folder / "a.mp4").read_bytes()
    with pytest.raises(AdammsError, match=r"row 1: video http.*0\.png: what is there is no video"):
        read(folder, {"question": "What?", "video": f"{server}/0.png"}, downloads=allowed)


def test_a_column_of_another_name(folder: Path) -> None:
    (example,) = read(folder, {"question": "What?", "clip": "a.mp4"}, columns={"video": "clip"})
    assert example.video == Video((folder / "a.mp4",))
    (example,) = read(folder, {"question": "What?", "video": "a.mp4"}, columns={"video": None})
    assert example.video is None
