"""The same questions in every format are the same examples; what is wrong is named by its row."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import ROOT
from configured import configured
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, disable_progress_bars
from datasets import Image as ImageFeature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from adamms.data.downloads import Downloads
from adamms.data.example import Dataset as Loaded
from adamms.data.example import Example, Label
from adamms.data.file import File
from adamms.errors import AdammsError

disable_progress_bars()


def data(path: Path, **values: Any) -> File:
    return configured("data/file", path=str(path), **({"pictures": path.parent / "pictures"} | values))


def loaded(file: File) -> Loaded:
    """With all pictures in files."""
    found = file.load()
    return found.written(found.unwritten, lambda _: None)


def picture(colour: str = "red") -> bytes:
    written = BytesIO()
    Image.new("RGB", (4, 3), colour).save(written, "png")
    return written.getvalue()


PICTURES = [picture(colour) for colour in ("red", "green", "blue")]
ADDRESSES = [f"data:image/png;base64,{b64encode(content).decode()}" for content in PICTURES]


# Every format says the same -----------------------------------------------------------------------------

Question = tuple[str, list[int], str]  # text, which pictures, answer
Writer = Callable[[Path, list[Question]], Path]


def as_lines(folder: Path, questions: list[Question]) -> Path:
    rows = [
        {"question": text, "images": [ADDRESSES[n] for n in numbers], "answer": answer}
        for text, numbers, answer in questions
    ]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "q.jsonl"


def as_array(folder: Path, questions: list[Question]) -> Path:
    lines = as_lines(folder, questions).read_text().splitlines()
    (folder / "q.json").write_text(f" [{','.join(lines)}]")
    return folder / "q.json"


def as_llava(folder: Path, questions: list[Question]) -> Path:
    rows = []
    for text, numbers, answer in questions:
        images = [ADDRESSES[n] for n in numbers]
        row: dict[str, Any] = {"image": images[0] if len(images) == 1 else images} if images else {}
        places = "" if "<image>" in text else "<image>\n" * len(images)
        turns = [{"from": "human", "value": places + text}, {"from": "gpt", "value": answer}]
        rows.append(row | {"conversations": turns})
    (folder / "q.json").write_text(json.dumps(rows))
    return folder / "q.json"


def as_openai(folder: Path, questions: list[Question]) -> Path:
    rows = []
    for text, numbers, answer in questions:
        shown = [{"type": "image_url", "image_url": {"url": ADDRESSES[n]}} for n in numbers]
        if "<image>" in text:  # at its places, which are between lines
            parts = [{"type": "text", "text": part} for part in text.split("\n<image>\n")]
            content: list[Any] = [part for pair in zip(parts, shown, strict=False) for part in pair]
            content += parts[len(shown) :]
        else:
            content = [*shown, {"type": "text", "text": text}]
        rows.append([{"role": "user", "content": content}, {"role": "assistant", "content": answer}])
    (folder / "q.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    return folder / "q.jsonl"


def as_parquet(folder: Path, questions: list[Question]) -> Path:
    table = pa.table(
        {
            "question": pa.array([text for text, _, _ in questions]),
            "images": pa.array(
                [[{"bytes": PICTURES[n], "path": None} for n in numbers] for _, numbers, _ in questions],
                pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            ),
            "answer": pa.array([answer for _, _, answer in questions]),
        }
    )
    pq.write_table(table, folder / "q.parquet")
    return folder / "q.parquet"


WRITERS: list[Writer] = [as_array, as_llava, as_openai, as_parquet]
texts = st.text("aé中?<>{}\"\\,' ", min_size=1, max_size=12).map(lambda text: f"x{text}x")


@st.composite
def questions(draw: st.DrawFn) -> Question:
    numbers = draw(st.lists(st.integers(0, 2), max_size=3))
    places = bool(numbers) and draw(st.booleans())
    between = [draw(texts) for _ in range(len(numbers) + 1)] if places else [draw(texts)]
    return "\n<image>\n".join(between), numbers, draw(texts)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(questions(), min_size=1, max_size=4))
def test_all_formats_of_the_same_questions_give_equal_examples(tmp_path: Path, asked: list[Question]) -> None:
    expected = loaded(data(as_lines(tmp_path, asked)))
    assert [e.question for e in expected.examples] == [text for text, _, _ in asked]
    for example, (_, numbers, answer) in zip(expected.examples, asked, strict=True):
        assert [image.read_bytes() for image in example.images] == [PICTURES[n] for n in numbers]
        assert expected.answers[example.id].accepted == (answer,)
    for write in WRITERS:
        found = loaded(data(write(tmp_path, asked)))
        assert found.examples == expected.examples, write
        assert {id: str(label) for id, label in found.answers.items()} == {
            id: str(label) for id, label in expected.answers.items()
        }
        assert not found.columns


def test_the_smallest_example_of_each_format_in_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (ROOT / "docs/data.md").read_text().partition("| file | what |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w./]+)` \|[^`]*\| `(.+)` \|$", table, re.MULTILINE)
    assert len(rows) == 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.png").write_bytes(PICTURES[0])
    expected = Example("1", "default", "What colour?", Path("1.png"))
    for path, example in rows:
        if example.startswith("Dataset"):
            exec(example, {"Dataset": Dataset})
        else:
            Path(path).write_text(example)
        read = loaded(data(Path(path)))
        (found,) = read.examples
        assert (found.id, found.task, found.question) == (expected.id, expected.task, expected.question), path
        assert [image.read_bytes() for image in found.images] == [PICTURES[0]], path
        assert str(read.answers["1"]) == "red", path


# Datasets -----------------------------------------------------------------------------------------------


@pytest.fixture
def table() -> Dataset:
    features = Features(
        {
            "prompt": Value("string"),
            "image": ImageFeature(),
            "label": ClassLabel(names=["cat", "dog"]),
            "year": Value("int32"),
        }
    )
    image = Image.open(BytesIO(PICTURES[1]))
    rows = {"prompt": ["Which?", "And?"], "image": [image, None], "label": [1, 0], "year": [2020, None]}
    return Dataset.from_dict(rows, features=features)


COLUMNS = {"question": "prompt", "answer": "label"}


def test_a_saved_dataset_with_columns_of_its_own(table: Dataset, tmp_path: Path) -> None:
    table.save_to_disk(tmp_path / "saved")
    before = sorted(tmp_path.rglob("*"))
    found = loaded(data(tmp_path / "saved", columns=COLUMNS))
    assert [(e.question, len(e.images), e.name) for e in found.examples] == [
        ("Which?", 1, "saved, row 1"),
        ("And?", 0, "saved, row 2"),
    ]
    assert [str(found.answers[id]) for id in "12"] == ["dog", "cat"]
    assert found.columns == {"1": {"year": "2020"}}
    assert [path for path in sorted(tmp_path.rglob("*")) if "pictures" not in path.parts] == before


def test_of_several_splits_one_is_named(table: Dataset, tmp_path: Path) -> None:
    (tmp_path / "parquet/data").mkdir(parents=True)
    for split in ("train", "test"):
        table.to_parquet(tmp_path / f"parquet/data/{split}-00000-of-00001.parquet")
    DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "saved")
    for folder in (tmp_path / "parquet", tmp_path / "saved"):
        assert len(data(folder, columns=COLUMNS, split="test").load().examples) == 2
        with pytest.raises(AdammsError, match=r"data\.split is not given; expected one of: train, test\."):
            data(folder, columns=COLUMNS).load()
        with pytest.raises(AdammsError, match=r"data\.split is 'tset'; .* Nearest: test"):
            data(folder, columns=COLUMNS, split="tset").load()
    with pytest.raises(AdammsError, match=r"data\.split is 'test'; only a dataset's folder has splits"):
        data(as_lines(tmp_path, [("a", [], "b")]), split="test").load()


def test_a_dataset_that_was_saved_by_itself_is_of_no_other_split(table: Dataset, tmp_path: Path) -> None:
    table.save_to_disk(tmp_path / "none")
    Dataset.from_dict(table.to_dict(), split="train").save_to_disk(tmp_path / "train")
    assert len(data(tmp_path / "train", columns=COLUMNS, split="train").load().examples) == 2
    with pytest.raises(AdammsError, match=r"data\.split is 'test'; it has only the split 'train'\."):
        data(tmp_path / "train", columns=COLUMNS, split="test").load()
    with pytest.raises(AdammsError, match=r"data\.split is 'test'; it has no splits\. data\.split=null"):
        data(tmp_path / "none", columns=COLUMNS, split="test").load()


def test_a_class_that_is_kept_back_is_no_label(table: Dataset, tmp_path: Path) -> None:
    features = table.features
    rows = {"prompt": ["a", "b"], "image": [None] * 2, "label": [-1, 0], "year": [None] * 2}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    found = data(tmp_path / "saved", columns=COLUMNS).load()
    assert {id: str(label) for id, label in found.answers.items()} == {"2": "cat"}


def card(folder: Path, **configs: Any) -> Path:
    folder.mkdir(exist_ok=True)
    listed = [{"config_name": name, "data_files": files} for name, files in configs.items()]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(listed)}\n---\n# Data\n")
    return folder


def test_a_folder_whose_card_names_files_elsewhere_is_refused_and_nobody_asked(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    folder = card(tmp_path / "q", default=[{"split": "train", "path": f"{server[0]}/x.jsonl"}])
    with pytest.raises(AdammsError, match=r"q: its configuration 'default' takes data from elsewhere: .*x"):
        data(folder).load()
    (folder / "README.md").rename(folder / "other.md")
    (folder / ".huggingface.yaml").write_text(f"configs: [{{data_files: '{server[0]}/x.jsonl'}}]")
    with pytest.raises(AdammsError, match="takes data from elsewhere"):
        data(folder, downloads=ALLOWED).load()
    assert server[1] == []


def test_of_several_configurations_one_is_given_as_its_folder(table: Dataset, tmp_path: Path) -> None:
    folder = card(tmp_path / "q", en="en/*.parquet", fr="fr/*.parquet")
    for name in ("en", "fr"):
        (folder / name).mkdir()
        table.to_parquet(folder / name / "all.parquet")
    with pytest.raises(AdammsError, match=r'several configurations; .*: en: "en/\*\.parquet"; fr: "fr'):
        data(folder, columns=COLUMNS).load()
    assert len(data(folder / "en", columns=COLUMNS).load().examples) == 2
    card(folder, default="en/*.parquet", fr="fr/*.parquet")
    assert len(data(folder, columns=COLUMNS).load().examples) == 2


def test_a_format_can_be_said_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    lines = as_lines(tmp_path, [("a", [], "b"), ("b", [], "c")])
    assert len(data(lines.rename(tmp_path / "q.txt")).load().examples) == 2
    with pytest.raises(AdammsError, match=r"q\.txt: not JSON \(Extra data: line 2"):
        data(tmp_path / "q.txt", format="json").load()
    with pytest.raises(AdammsError, match=r"q\.txt: datasets cannot read it"):
        data(tmp_path / "q.txt", format="parquet").load()
    (tmp_path / "one.json").write_text('{"question": "a"}')
    with pytest.raises(AdammsError, match="holds an object; expected a list of objects"):
        data(tmp_path / "one.json", format="json").load()


# Rows ---------------------------------------------------------------------------------------------------


def array(folder: Path, *rows: Any) -> Path:
    (folder / "q.json").write_text(json.dumps([{"question": "good"}, *rows]))
    return folder / "q.json"


def human(value: Any, **more: Any) -> dict[str, Any]:
    return more | {"conversations": [{"from": "human", "value": value}]}


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


BAD = {
    "a number": (7, "a number; expected an object"),
    "slip": (
        {"question": "a", "answers": ["b"]},
        r"unknown key 'answers'. Nearest: answer. If .*columns.answ",
    ),
    "no text": ({"data": [{"question": "a"}]}, r"'question' is missing or empty; the keys are data$"),
    "other name": ({"prompt": "a"}, r"'question' is missing.*prompt \(data\.columns\.question=prompt reads"),
    "both": ({"question": "a", "image": "1.png", "images": ["2.png"]}, "has 'image' and 'images'"),
    "no video": ({"question": "a", "video": "v.mp4"}, r"video .*v\.mp4: no such file"),
    "no video part": (
        user({"type": "text", "text": "a"}, {"type": "video_url", "video_url": {"url": "v.mp4"}}),
        r"v\.mp4: no such file",
    ),
    "no frame": ({"question": "a", "video": [ADDRESSES[0], "2.png"]}, r"image .*2\.png: no such file"),
    "no frames": ({"question": "a", "video": []}, "'video' is an empty list; expected its frames"),
    "an empty video": (
        {"question": "a", "video": ""},
        "'video' is empty; leave it out of a question without",
    ),
    "a number as video": ({"question": "a", "video": True}, "a video is true; expected a path"),
    "videos": ({"question": "a", "videos": ["v.mp4", "w.mp4"]}, "has 2 videos; expected one at most"),
    "both videos": ({"question": "a", "video": "v.mp4", "videos": ["w.mp4"]}, "has 'video' and 'videos'"),
    "a picture as video": ({"question": "a", "video": ADDRESSES[0]}, "its base64 is no video"),
    "mark without video": ({"question": "<video> What?"}, "<video> 1 times, and there are 0 videos"),
    "turn without video": (human("<video>\nWhat?"), "has 1 places for videos .* and 0 videos"),
    "only a video": (human("<video>", video=[ADDRESSES[0]]), "'question' is nothing but places for a video"),
    "a slip of video": ({"question": "a", "vidoe": "v.mp4"}, "unknown key 'vidoe'. Nearest: video"),
    "too few images": (human("<image><image>What?", images=ADDRESSES[:1]), "2 places .* and 1 images"),
    "no image": (human("<image>\nWhat?"), "has 1 places for images .* and 0 images"),
    "only an image": (human("<image>", image=ADDRESSES[0]), "'question' is nothing but places for images"),
    "places": ({"question": "<image> <image>", "image": ADDRESSES[0]}, "<image> 2 times, and there are 1"),
    "no turns": ({"conversations": []}, "'conversations' does not begin with what the user asks"),
    "turns": ({"conversations": "a"}, "'conversations' is a text; expected a list of turns"),
    "a turn": ({"messages": ["a"]}, r"messages\[0\] is a text; expected an object"),
    "a speaker in a list": ({"messages": [{"role": ["user"], "content": "a"}]}, r"from \['user'\]; expec"),
    "speaker": ({"messages": [{"role": "uzer", "content": "a"}]}, r"from 'uzer'; .* Nearest: user"),
    "content": ({"messages": [{"role": "user", "content": 7}]}, r"messages\[0\] says '7'; expected text"),
    "part": (user({"type": "imagine"}), r"a part of type 'imagine'; .* Nearest: image"),
    "two talks": (human("a", messages=[]), "has 'conversations' and 'messages'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_by_its_number(case: str, tmp_path: Path) -> None:
    row, message = BAD[case]
    path = array(tmp_path, row)
    with pytest.raises(AdammsError, match=message) as caught:
        data(path).load()
    assert str(caught.value).startswith(f"{path}: bad rows:\n  row 2: ")


def test_further_columns_are_kept_for_the_report_apart_from_the_example(tmp_path: Path) -> None:
    row = {"question": "a", "answer": "b", "answers": ["c"], "level": 3, "source": None, "of": {"x": [1]}}
    path = array(tmp_path, row)
    found = data(path, columns={"image": None, "answer": None, "task": "level"}).load()
    assert found.columns == {"2": {"answer": "b", "answers": '["c"]', "of": '{"x": [1]}'}}
    assert not found.answers
    assert found.examples[1] == Example("2", "3", "a")


@pytest.mark.parametrize("key", ["mask", "idx", "uid", "image_id", "question_id", "task_id"])
def test_a_key_that_is_no_slip_of_a_field_is_a_column(key: str, tmp_path: Path) -> None:
    assert data(array(tmp_path, {"question": "a", key: "b"})).load().columns == {"2": {key: "b"}}


@pytest.mark.parametrize(
    ("key", "field"), [("tasks", "task"), ("Task", "task"), ("ID", "id"), ("imgs", "images")]
)
def test_a_slip_of_a_field_is_told(key: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=rf"unknown key '{key}'\. Nearest: {field}\."):
        data(array(tmp_path, {"question": "a", key: "b"})).load()


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("Look at <image> and tell", "Look at <image> and tell"),
        ("<image> What?", "What?"),
        ("What? <image> ", "What?"),
    ],
)
def test_where_one_image_goes(given: str, asked: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(PICTURES[0])
    example = data(array(tmp_path, {"question": given, "image": "1.png"})).load().examples[1]
    assert example.question == asked
    before, image, after = ("Look at ", tmp_path / "1.png", " and tell")
    assert example.parts == ((before, image, after) if asked == given else (image, asked))


def test_a_picture_at_home_and_in_openais_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/1.png").write_bytes(PICTURES[0])
    rows = [{"question": "a", "image": image} for image in ("~/1.png", {"url": ADDRESSES[0]})]
    _, *found = loaded(data(array(tmp_path, *rows))).examples
    assert [each.images[0].read_bytes() for each in found] == PICTURES[:1] * 2


def test_tables_of_text_say_how_they_become_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.csv", 'question,answer\n"b, c",d\n'), ("e.tsv", "question\tanswer\nb, c\td\n")):
        Path(name).write_text(text)
        with pytest.raises(AdammsError, match=r"is no format of data\. Write it as JSON lines") as caught:
            data(Path(name)).load()
        exec(str(caught.value).partition('"')[2].rstrip('"'))
        assert data(Path(name).with_suffix(".jsonl")).load().examples == (Example("1", "default", "b, c"),)


def test_a_field_that_there_is_not_is_no_column(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"unknown key data\.columns\.imgae; expected .* Nearest: image"):
        data(tmp_path, columns={"imgae": "x"})


def test_of_a_long_conversation_the_first_answer_is_asked_for(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A car."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "And here?"}]},
        {"role": "assistant", "content": "A bus."},
    ]
    found = data(array(tmp_path, {"messages": turns, "images": ADDRESSES[:2]})).load()
    example = found.examples[1]
    assert (example.question, len(example.images)) == ("What?", 1)
    assert found.answers["2"] == Label(("A car.",), place="q.json, row 2")
    assert found.columns["2"] == {"system": "Be brief.", "further turns": "2"}
    assert found.notes == ("1 conversations go on after their first answer; only that is asked for",)


# Pictures from the web ----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths that were asked for."""
    asked: list[str] = []
    answers: Mapping[str, bytes] = {
        "/red.png": PICTURES[0],
        "/r%C3%B6t%20a%20b.png?c=%C3%A9&d=/": PICTURES[0],
        "/cut.png": PICTURES[0],
        "/page": b"<html>",
        "/large": bytes(2_000_000),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = answers.get(self.path)
            self.send_response(404 if content is None else 200)
            more = 100 if self.path == "/cut.png" else 0
            self.send_header("Content-Length", str(len(content or b"") + more))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None: ...

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}", asked
    found.shutdown()
    found.server_close()


ALLOWED = Downloads(allowed=True, seconds=20, most_mb=1)


def test_a_picture_from_the_web_is_kept_by_its_content(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    path = array(tmp_path, {"question": "a", "image": f"{address}/red.png"})
    with pytest.raises(
        AdammsError, match=r"row 2: image http.*downloaded unless .*data\.downloads\.allowed="
    ):
        data(path).load()
    assert asked == []
    for _ in range(2):
        assert loaded(data(path, downloads=ALLOWED)).examples[1].images[0].read_bytes() == PICTURES[0]
    assert asked == ["/red.png"]
    (tmp_path / "own.json").write_text(json.dumps([{"question": "a", "image": ADDRESSES[0]}]))
    kept = loaded(data(tmp_path / "own.json")).examples[0].image
    assert kept == loaded(data(path, downloads=ALLOWED)).examples[1].image


def test_only_pictures_that_are_asked_for_are_written_and_downloaded(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    """The second, which is not there, stops nothing before it is asked about; a row with two is got whole."""
    address, asked = server
    (tmp_path / "1.png").write_bytes(PICTURES[2])
    rows = [
        {"question": "a", "images": [f"{address}/red.png", ADDRESSES[1]]},
        {"question": "b", "image": f"{address}/no.png"},
        {"question": "c", "image": "1.png"},
        {"question": "d", "image": ADDRESSES[2]},
    ]
    found = data(array(tmp_path, *rows), downloads=ALLOWED).load()
    assert (asked, sorted(found.unwritten), (tmp_path / "pictures").exists()) == ([], ["2", "3", "5"], False)
    advanced: list[int] = []
    some = found.written({"2"}, advanced.append)
    assert [image.read_bytes() for image in some.examples[1].images] == PICTURES[:2]
    assert (asked, sorted(some.unwritten), advanced) == (["/red.png"], ["3", "5"], [1])
    assert len([*(tmp_path / "pictures").glob("*.png")]) == 2
    assert (some.examples[0], some.examples[3:]) == (found.examples[0], found.examples[3:])
    with pytest.raises(AdammsError, match=r"bad rows:\n  row 3: image .*/no\.png: the server says 404"):
        some.written({"3", "5"}, advanced.append)


def test_a_picture_whose_connection_breaks_is_not_kept(server: tuple[str, list[str]], tmp_path: Path) -> None:
    rows = array(tmp_path, {"question": "a", "image": server[0] + "/cut.png"})
    with pytest.raises(AdammsError, match=r"cut\.png: the connection ended 100 bytes too early"):
        loaded(data(rows, downloads=ALLOWED))
    assert not (tmp_path / "pictures").exists()


def test_an_address_that_is_none_is_told_by_its_row_before_anything_is_asked(tmp_path: Path) -> None:
    rows = array(tmp_path, {"question": "a", "image": "http://[::1/a.png"})
    with pytest.raises(AdammsError, match=r"row 2: image http://\[::1/a\.png: is no address \(Invalid IPv6"):
        data(rows, downloads=ALLOWED).load()


def test_addresses_that_browsers_take(server: tuple[str, list[str]], tmp_path: Path) -> None:
    ALLOWED.get(f"{server[0]}/r\u00f6t%20a b.png?c=\u00e9&d=/#e", "image")
    assert server[1] == ["/r%C3%B6t%20a%20b.png?c=%C3%A9&d=/"]
    host = ALLOWED.request("http://h\u00f6st:80/a.png", "image").host
    assert host == "xn--hst-sna:80"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/no.png", "the server says 404 Not Found"),
        ("/page", "what is there is no picture"),
        ("/large", r"more than 1 MB \(data\.downloads\.most_mb\)"),
    ],
)
def test_what_cannot_be_downloaded_is_told_by_its_row(
    path: str, message: str, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    rows = array(tmp_path, {"question": "a", "image": server[0] + path})
    with pytest.raises(AdammsError, match=rf"row 2: image http.*{path}: {message}"):
        loaded(data(rows, downloads=ALLOWED))
    assert not (tmp_path / "pictures").exists()


def test_a_server_that_is_not_there_or_is_silent(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"cannot be downloaded .*refused"):
        ALLOWED.get("http://127.0.0.1:9/a.png", "image")
    import socket

    late = Downloads(allowed=True, seconds=0.2, most_mb=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(AdammsError, match=r"took more than 0\.2 s \(data\.downloads\.seconds\)"):
            late.get(f"http://127.0.0.1:{port}/a.png", "image")
