"""Examples from JSONL, and bad lines named by number."""

import json
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configured import configured
from PIL import Image

from adamms.data.example import Example, Label
from adamms.data.file import File
from adamms.errors import AdammsError


def jsonl(path: str, **values: Any) -> File:
    return configured("data/jsonl", path=path, **({"pictures": Path(path).parent / "pictures"} | values))


def write(folder: Path, *lines: Any) -> str:
    """A file of these lines: text and bytes as they are, anything else as JSON."""
    raw = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    file = folder / "data.jsonl"
    file.write_bytes(b"\n".join(raw) + b"\n")
    return str(file)


def picture(folder: Path, name: str = "images/1.png") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), "red").save(path)
    return path


def test_lines_become_examples_in_order_and_answers_stay_apart(tmp_path: Path) -> None:
    image = picture(tmp_path)
    path = write(
        tmp_path,
        {"image": "images/1.png", "question": "What colour?", "task": "vqa", "answer": "red", "id": "first"},
        {"image": str(image), "question": "And the sky? Ünïcode"},
        {"question": 7, "id": 12, "answer": 3.5},
    )
    data = jsonl(path).load()
    assert data.name == "data"
    assert data.examples == (
        Example("first", "vqa", "What colour?", image),
        Example("2", "default", "And the sky? Ünïcode", image),
        Example("12", "default", "7", None),
    )
    assert data.answers == {
        "first": Label(("red",), place="data.jsonl, line 1"),
        "12": Label(("3.5",), place="data.jsonl, line 3"),
    }


@pytest.mark.parametrize("answer", ["", "  ", "\u200b", "\u00a0", None, [], [""]])
def test_an_empty_answer_is_no_label(answer: Any, tmp_path: Path) -> None:
    assert jsonl(write(tmp_path, {"question": "a", "answer": answer})).load().answers == {}


def test_several_answers_are_accepted_as_often_as_given(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "a", "answer": ["red", 3, "red", " "]})
    label = jsonl(path).load().answers["1"]
    assert (label.accepted, str(label)) == (("red", "3", "red"), "red / 3")


def test_a_whole_number_is_no_float(tmp_path: Path) -> None:
    path = write(tmp_path, '{"question": "a", "answer": [3.0, -0.0, 3.5, 1e300], "id": 7.0}')
    assert jsonl(path).load().answers["7"].accepted == ("3", "0", "3.5", "1e+300")


def test_a_label_knows_its_options(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "a", "options": ["red", "blue"], "answer": "B"})
    assert jsonl(path).load().answers["1"].options == {"A": "red", "B": "blue"}


def test_prompt_and_default_task(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "Which {number}?"})
    (example,) = jsonl(path, prompt="{question}\nAnswer with one word.", task="short").load().examples
    assert (example.question, example.task) == ("Which {number}?\nAnswer with one word.", "short")


def test_a_prompt_without_the_question_is_refused() -> None:
    with pytest.raises(AdammsError, match=r"data\.prompt is 'Answer\.'; expected \{question\}"):
        jsonl("x", prompt="Answer.")


def test_questions_with_options_have_prompts_of_their_own_and_so_have_tasks(tmp_path: Path) -> None:
    choice = {"question": "A {options}?", "options": ["red", 2, "{question}"]}
    path = write(
        tmp_path,
        {"question": "open"},
        choice,
        {"question": "open", "task": "vqa"},
        choice | {"task": "vqa"},
        choice | {"task": "mc"},
        {"question": "no options", "options": [], "task": "mc"},
    )
    data = jsonl(
        path,
        prompts={"vqa": "{question} Shortly."},
        choice_prompts={"mc": "{options}\n{question} Letter."},
    ).load()
    lettered = "A. red\nB. 2\nC. {question}"
    assert [example.question for example in data.examples] == [
        "open",
        f"A {{options}}?\n{lettered}",
        "open Shortly.",
        f"A {{options}}?\n{lettered}",
        f"{lettered}\nA {{options}}? Letter.",
        "no options",
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompts": {"vqa": "Go."}}, r"data\.prompts\.vqa is 'Go\.'; expected \{question\} in it"),
        ({"choice_prompt": "{question}"}, r"data\.choice_prompt is '\{question\}'; .*\{options\}"),
        ({"choice_prompts": {"mc": "{options}"}}, r"data\.choice_prompts\.mc .*\{question\}"),
    ],
)
def test_prompts_without_their_places_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(AdammsError, match=message):
        jsonl("x", **wrong)


def test_blank_lines_count_but_are_no_examples(tmp_path: Path) -> None:
    path = write(tmp_path, "", {"question": "a"}, "   ", {"question": "b"})
    assert [example.id for example in jsonl(path).load().examples] == ["2", "4"]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbf{"question": "a"}\r', b'{"question": "b"}\r')
    assert [example.question for example in jsonl(path).load().examples] == ["a", "b"]


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"question": "a"})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(jsonl("~/data.jsonl").load().examples) == 1


BAD = {
    "not JSON": ("{question: 1}", "not JSON"),
    "two objects": ('{"question": "a"} {"question": "b"}', "not JSON"),
    "not UTF-8": (b'{"question": "\xff"}', "not text in UTF-8$"),
    "nested too deeply": ("[" * 100_000, "not JSON"),
    "a list": ([1], "a list; expected an object, such as"),
    "null": ("null", "null; expected an object, such as"),
    "unknown key": ({"question": "a", "img": "x"}, "unknown key 'img'. Nearest: image"),
    "no question": ({"task": "a"}, "'question' is missing or empty"),
    "empty question": ({"question": ""}, "'question' is missing or empty"),
    "question is a list": ({"question": ["a"]}, "'question' is a list; expected text"),
    "answer is a bool": ({"question": "a", "answer": True}, "'answer' is true; expected text"),
    "invisible question": ({"question": "\u200b"}, "'question' is missing or empty"),
    "answer is no number": ('{"question": "a", "answer": NaN}', "not JSON .NaN is no value of JSON; null is"),
    "answer is infinite": ('{"question": "a", "answer": 1e999}', "not JSON .1e999 is too large"),
    "a key twice": ('{"question": "a", "answer": "b", "answer": "c"}', "not JSON .'answer' is there twice"),
    "an answer is a list": ({"question": "a", "answer": [["b"]]}, "'answer' is a list; expected text"),
    "options are text": ({"question": "a", "options": "b"}, "'options' is 'b'; expected a list of texts"),
    "too many options": ({"question": "a", "options": [*range(27)]}, "'options' has 27 .* at most 26"),
    "an option twice": ({"question": "a", "options": ["b", "c", " b"]}, "'options' has 'b' twice"),
    "an empty option": ({"question": "a", "options": ["b", " "]}, "an empty text at place 2; leave it out"),
    "an option is null": ({"question": "a", "options": ["a", None]}, "'options' has a null; expected texts"),
    "an option is a list": ({"question": "a", "options": [["a"]]}, "'options' is a list; expected text"),
    "missing image": ({"question": "a", "image": "no.png"}, r"image .*/no\.png: no such file"),
    "image is a folder": ({"question": "a", "image": "."}, r"image .*: a folder, expected a file"),
    "image is nothing": ({"question": "a", "image": ""}, "'image' is empty; leave it out"),
    "image is a long name": (
        {"question": "a", "image": "x" * 9000},
        r"image .* \(\d+ characters\): no such file",
    ),
    "image has a NUL": ({"question": "a", "image": "a\0b"}, "no such file"),
    "image is a bool": ({"question": "a", "image": True}, "an image is true; expected a path"),
    "image is a URL": (
        {"question": "a", "image": "https://host/a.png"},
        "image https://host/a.png: nothing is downloaded unless you allow it: data.downloads.allowed=true",
    ),
    "image is in a bucket": (
        {"question": "a", "image": "s3://host/a.png"},
        "begins with http:// or https://",
    ),
    "image is damaged base64": (
        {"question": "a", "image": "data:image/png;base64,A!"},
        "its base64 is damaged",
    ),
    "image is a text in base64": (
        {"question": "a", "image": "data:image/png;base64,aGVsbG8="},
        "its base64 is no picture",
    ),
    "image is text in data:": ({"question": "a", "image": "data:image/svg+xml,<svg/>"}, "expected base64 in"),
    "question has half a character": ('{"question": "a\\ud83d"}', r"'question' has \\ud83d, half of a char"),
    "answer has half a character": ('{"question": "a", "answer": "\\udc00"}', "'answer' has .*half of"),
    "option has half a character": ('{"question": "a", "options": ["\\udc00"]}', "'options' has .*half of"),
    "id twice": ({"question": "a", "id": "1"}, "id '1' is line 1's too"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_by_its_number(case: str, tmp_path: Path) -> None:
    line, message = BAD[case]
    path = write(tmp_path, {"question": "good"}, "", line, {"question": "good, too"})
    with pytest.raises(AdammsError, match=message) as caught:
        jsonl(path).load()
    assert str(caught.value).startswith(f"{path}: bad lines:\n  line 3: ")
    assert "line 4" not in str(caught.value)


@pytest.mark.parametrize("form", ["data:image/png;base64,{}", "{}", "{}\n", "data:;base64,{}"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode, encodebytes])
def test_a_picture_in_base64_becomes_a_file(
    form: str, encode: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    content = picture(tmp_path).read_bytes()
    line = {"question": "a", "image": form.format(encode(content).decode())}
    data = jsonl(write(tmp_path, line, line)).load()
    first, again = data.written(data.unwritten, lambda _: None).examples
    assert first.image == again.image
    assert first.image.parent == tmp_path / "pictures"
    assert first.image.suffix == ".png"
    assert first.image.read_bytes() == content
    assert list((tmp_path / "pictures").iterdir()) == [first.image]


def test_examples_say_where_they_were_read_and_are_equal_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "a"}, "", {"question": "b"})
    first, second = jsonl(path).load().examples
    assert (
        Example.names([first, second, Example("9", "t", "q")])
        == "data.jsonl, line 1; data.jsonl, line 3; example '9'"
    )
    assert first == Example("1", "default", "a")
    assert Example.names([first] * 7) == "; ".join(["data.jsonl, line 1"] * 5) + " and 2 more"


def test_no_image_is_decoded_before_it_is_known_which_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(picture(tmp_path).read_bytes()[:-30])
    assert len(jsonl(write(tmp_path, *[{"question": "a", "image": "cut.png"}] * 3)).load().examples) == 3


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, *["bad"] * 8)
    with pytest.raises(AdammsError) as caught:
        jsonl(path).load()
    assert str(caught.value).count("\n  line ") == 5
    assert str(caught.value).endswith("and 3 more")


@pytest.mark.parametrize("lines", [[], [""], ["  ", ""]])
def test_a_file_without_examples_is_refused(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"data\.jsonl: holds no examples"):
        jsonl(write(tmp_path, *lines)).load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"question": "a"})
    with pytest.raises(AdammsError, match=r"^data\.path: .*/date\.jsonl: no such .* Nearest: data\.jsonl\.$"):
        jsonl(str(tmp_path / "date.jsonl")).load()
    with pytest.raises(AdammsError, match="Is a directory"):
        jsonl(str(tmp_path)).load()
    with pytest.raises(AdammsError, match="hf download --repo-type dataset owner/name --local-dir FOLDER"):
        jsonl("owner/name").load()
