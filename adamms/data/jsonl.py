"""Examples from a JSONL file: one object per line with image path, question, task and optional answer.

    {"image": "images/1.png", "question": "What colour is the car?", "task": "vqa", "answer": "red"}

`image` is relative to the file; `task`, `id`, `image` and `answer` may be left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from adamms.data.example import Dataset, Example
from adamms.errors import AdammsError, nearest

FIELDS = ("id", "image", "question", "task", "answer")


@dataclass(frozen=True)
class Jsonl:
    """A data source.

    Args:
        path: the file.
        prompt: how a question is put to the models; `{question}` stands for the line's question.
        task: the task of lines that name none.
    """

    path: str
    prompt: str = "{question}"
    task: str = "default"

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt:
            raise AdammsError(f"data.prompt is {self.prompt!r}; expected the place of {{question}} in it")

    def load(self) -> Dataset:
        """Read every line and decode every image once, so that bad data fails before any work.

        Raises:
            AdammsError: no such file, no examples, or bad lines, each named by its number.
        """
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise AdammsError(f"data.path: {file}: no such file")
        examples: list[Example] = []
        answers: dict[str, str] = {}
        problems: list[str] = []
        seen: dict[str, int] = {}
        for number, line in _lines(file):
            try:
                example, answer = self._parse(line, number, file.parent)
                if example.id in seen:
                    raise AdammsError(f"id {example.id!r} is line {seen[example.id]}'s too")
            except AdammsError as error:
                problems.append(f"line {number}: {error}")
                continue
            seen[example.id] = number
            examples.append(example)
            if answer is not None:
                answers[example.id] = answer
        if problems:
            more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise AdammsError(f"{file}: bad lines:\n  " + "\n  ".join(problems[:5]) + more)
        if not examples:
            raise AdammsError(f"{file}: holds no examples")
        return Dataset(file.stem, tuple(examples), answers)

    def _parse(self, line: bytes, number: int, folder: Path) -> tuple[Example, str | None]:
        try:
            record = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise AdammsError(f"not JSON ({error})") from error
        if not isinstance(record, dict):
            raise AdammsError(f"expected an object with {', '.join(FIELDS)}")
        for key in record:
            if key not in FIELDS:
                raise AdammsError(f"unknown key {key!r}; expected {', '.join(FIELDS)}.{nearest(key, FIELDS)}")
        question = _text(record, "question")
        if not question:
            raise AdammsError("'question' is missing or empty")
        image = _text(record, "image")
        return (
            Example(
                id=_text(record, "id") or str(number),
                task=_text(record, "task") or self.task,
                question=self.prompt.replace("{question}", question),
                image=None if image is None else _checked_image(folder / image),
            ),
            _text(record, "answer"),
        )


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line


def _text(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise AdammsError(f"{key!r} is a {type(value).__name__}; expected text")


def _checked_image(path: Path) -> Path:
    if not path.is_file():
        raise AdammsError(f"image {path}: no such file")
    try:
        with Image.open(path) as image:
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise AdammsError(f"image {path} does not decode ({error})") from error
    return path
