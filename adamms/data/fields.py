"""What a row says, field by field, each value checked. Knows no file format, no prompt and no picture."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamms.data.conversations import as_question, is_conversation, pictures_of, videos_of
from adamms.data.example import IMAGE, MARK, VIDEO
from adamms.errors import AdammsError, kind_of

FIELDS = ("id", "image", "images", "video", "videos", "question", "options", "task", "answer")
# How like a field a key is (difflib's ratio) that may be a slip: "mask" is .6 like "images".
CLOSE = 0.61
SHORT, SHORT_CLOSE = 4, 0.81  # the same of short names: "mask" is .75 like "task", "idx" .8 like "id"
MARKS = re.compile(rf"\s*(?:(?:{IMAGE}|{VIDEO})\s*)*")


@dataclass(frozen=True)
class Fields:
    """A row.

    Args:
        question: not empty; with `<image>` and `<video>` only where media have places in it.
        pictures: as the row gives them: paths, addresses, bytes.
        video: the same, or a list of pictures that are its frames; None where there is none.
        answers: those that are not empty.
        id, task: None where the row has none.
        columns: what else the row says, as text.
    """

    question: str
    pictures: tuple[Any, ...]
    video: Any
    options: tuple[str, ...]
    answers: tuple[str, ...]
    id: str | None
    task: str | None
    columns: Mapping[str, str]


def read_fields(values: Mapping[str, Any], names: Mapping[str, str | None]) -> Fields:
    """A row's fields.

    Args:
        names: field -> its name in the data, or None for a field that they have not.

    Raises:
        AdammsError: a value of the wrong kind, no question, or a key that may be a slip.
    """
    own = {name: field for field, name in names.items() if name is not None}
    unread = {key: value for key, value in values.items() if key in names and key not in own}
    values = {own[key]: value for key, value in values.items() if key in own} | {
        key: value for key, value in values.items() if key not in own and key not in names
    }
    conversation = is_conversation(values)
    values = as_question(values) if conversation else values
    known = {key: value for key, value in values.items() if key in FIELDS}
    others = {key: value for key, value in values.items() if key not in FIELDS and value is not None}
    _check_keys(others, known, names)
    question = _text(known, "question")
    if question is None or _is_blank(question):
        keys = f"; the keys are {', '.join(map(str, others))}" if others and question is None else ""
        text = next((key for key, value in others.items() if isinstance(value, str)), None)
        way = f" (data.columns.question={text} reads that one)" if keys and text is not None else ""
        raise AdammsError(f"'question' is missing or empty{keys}{way}")
    pictures = tuple(pictures_of(known))
    videos = videos_of(known)
    if len(videos) > 1:
        raise AdammsError(f"has {len(videos)} videos; expected one at most")
    accepted = known.get("answer")
    given = _texts(known, "answer") if isinstance(accepted, list) else (_text(known, "answer") or "",)
    return Fields(
        question=placed(question, len(pictures), len(videos))
        if pictures or videos or conversation or VIDEO in question
        else question,
        pictures=pictures,
        video=videos[0] if videos else None,
        options=_texts(known, "options"),
        answers=tuple(text for text in given if not _is_blank(text)),
        id=_text(known, "id") or None,
        task=_text(known, "task") or None,
        columns={str(key): shown for key, value in (others | unread).items() if (shown := _shown(value))},
    )


def placed(question: str, images: int, videos: int = 0) -> str:
    """The question with places for its media only where they do not all go before it, images first.

    One image, or one video, behind the question goes before it, too, as in LLaVA's training.

    >>> placed("<image>\\nWhat?", 1), placed("What?\\n<image>", 1), placed("Is <image> red?", 1)
    ('What?', 'What?', 'Is <image> red?')
    >>> placed("<video>\\nWhat?", 0, 1), placed("<video> Is <image> in it?", 1, 1)
    ('What?', '<video> Is <image> in it?')

    Raises:
        AdammsError: it has places for more images or videos, or for fewer, than there are.
    """
    marks = MARK.findall(question)
    for mark, noun, count in ((IMAGE, "images", images), (VIDEO, "videos", videos)):
        if marks.count(mark) not in (0, count):
            raise AdammsError(
                f"the question has {mark} {marks.count(mark)} times, and there are {count} {noun}"
            )
    if not marks:
        return question
    if missing := [IMAGE] * (images - marks.count(IMAGE)) + [VIDEO] * (videos - marks.count(VIDEO)):
        question, marks = "\n".join([*missing, question]), [*missing, *marks]
    start = MARKS.match(question)
    assert start is not None
    behind = len(marks) == 1 and question.rstrip().endswith(marks[0])
    if behind or MARK.findall(start[0]) == [IMAGE] * images + [VIDEO] * videos:
        question = MARK.sub("", question).strip()
        if _is_blank(question):
            noun = "images" if images else "a video"
            raise AdammsError(f"'question' is nothing but places for {noun}")
    return question


def _check_keys(others: Mapping[str, Any], known: Mapping[str, Any], names: Mapping[str, str | None]) -> None:
    """Raise AdammsError for a key that resembles a field which the row lacks."""
    there = set(known)
    for one in ("image", "video"):
        there |= {one, f"{one}s"} if there & {one, f"{one}s"} else set()
    lacking = {str(name): field for field, name in names.items() if name is not None and field not in there}
    short = {name for name in lacking if len(name) <= SHORT}
    for key in others:
        found = difflib.get_close_matches(key, lacking.keys() - short, n=1, cutoff=CLOSE)
        found += difflib.get_close_matches(key.lower(), short, n=1, cutoff=SHORT_CLOSE)
        if found and not key.endswith("_id"):
            field = lacking[found[0]]
            raise AdammsError(
                f"unknown key {key!r}. Nearest: {found[0]}. If that is meant: data.columns.{field}={key}; "
                f"if the data have none: data.columns.{field}=null"
            )


def _text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is None:
        return value
    if isinstance(value, str):
        if (half := re.search("[\ud800-\udfff]", value)) is not None:
            raise AdammsError(f"{key!r} has {ascii(half[0])[1:-1]}, half of a character; expected whole ones")
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # a table's column of integers in which one is missing has floats
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise AdammsError(f"{key!r} is {kind_of(value)}; expected text")


def _texts(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of a list; () for null."""
    given = record.get(key)
    if given is not None and not isinstance(given, list):
        raise AdammsError(f"{key!r} is {given!r:.60}; expected a list of texts")
    texts = tuple(_text({key: each}, key) for each in given or ())
    if None in texts:
        raise AdammsError(f"{key!r} has a null; expected texts")
    return tuple(text for text in texts if text is not None)


def _is_blank(text: str) -> bool:
    """Whether nothing of it can be seen."""
    return not any(each.isprintable() and not each.isspace() for each in text)


def _shown(value: Any) -> str:
    """A further column's value for people; of bytes, as of a picture, how many."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode("utf-8")
    return json.dumps(value, ensure_ascii=True, default=_size)


def _size(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
