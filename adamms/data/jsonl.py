"""Examples from a JSONL file: one object per line with image path, question, task and optional answer.

    {"image": "images/1.png", "question": "What colour is the car?", "task": "vqa", "answer": "red"}

`image` is a path relative to the file, or the picture itself as base64. Only `question` is required. A line
with `"options": ["red", "blue"]` is a multiple-choice question. `"answer": ["red", "dark red"]` accepts
several answers; an empty one is no label.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamms.data.example import Dataset, Example, Label
from adamms.data.image_field import image_file
from adamms.data.options import Options
from adamms.data.prompts import Prompts
from adamms.errors import AdammsError, nearest

FIELDS = ("id", "image", "question", "options", "task", "answer")


@dataclass(frozen=True)
class Jsonl:
    """Examples in a file.

    Args:
        path: the file.
        prompt: what the models are asked; the line's question replaces `{question}`.
        choice_prompt: the same for a line with options, which replace `{options}` as lettered lines.
        prompts: task -> its own `prompt`.
        choice_prompts: task -> its own `choice_prompt`.
        benchmarks: of these prompts, those that need not be in the file -> other names of the task.
        task: the task of lines without one.
        pictures: a folder for pictures that are in the file itself, as base64.
    """

    path: str
    prompt: str
    choice_prompt: str
    prompts: Mapping[str, str]
    choice_prompts: Mapping[str, str]
    benchmarks: Mapping[str, tuple[str, ...]]
    task: str
    pictures: Path

    def __post_init__(self) -> None:
        for options in (False, True):
            self._prompts(options)

    def _prompts(self, options: bool) -> Prompts:
        """Those of the lines with options, or without."""
        if not options:
            return Prompts("prompt", self.prompt, self.prompts, self.benchmarks)
        places = ("question", "options")
        return Prompts("choice_prompt", self.choice_prompt, self.choice_prompts, self.benchmarks, places)

    def load(self) -> Dataset:
        """Read all lines. That the images decode is seen to when it is known which are asked about.

        Raises:
            AdammsError: no such file, no examples, a prompt for a task that no line has, or bad lines, which
                are named by their numbers.
        """
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise AdammsError(f"data.path: {file}: no such file")
        examples: list[Example] = []
        answers: dict[str, Label] = {}
        problems: list[str] = []
        seen: dict[str, int] = {}
        tasks: dict[bool, set[str]] = {False: set(), True: set()}  # of lines with options, or without
        for number, line in _lines(file):
            try:
                example, label = self._parse(line, number, file)
                if example.id in seen:
                    raise AdammsError(f"id {example.id!r} is line {seen[example.id]}'s too")
            except AdammsError as error:
                problems.append(f"line {number}: {error}")
                continue
            seen[example.id] = number
            examples.append(example)
            tasks[bool(label.options)].add(example.task)
            if label.accepted:
                answers[example.id] = label
        if problems:
            more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise AdammsError(f"{file}: bad lines:\n  " + "\n  ".join(problems[:5]) + more)
        if not examples:
            raise AdammsError(f"{file}: holds no examples")
        notes: list[str] = []
        for options, own in tasks.items():
            self._prompts(options).check(own, tasks[not options])
            notes += self._prompts(options).notes(own)
        return Dataset(file.stem, tuple(examples), answers, tuple(notes))

    def _parse(self, line: bytes, number: int, file: Path) -> tuple[Example, Label]:
        try:
            record = json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise AdammsError(f"not JSON ({error})") from error
        if not isinstance(record, dict):
            raise AdammsError(f"expected an object with {', '.join(FIELDS)}")
        for key in record:
            if key not in FIELDS:
                raise AdammsError(f"unknown key {key!r}; expected {', '.join(FIELDS)}.{nearest(key, FIELDS)}")
        question = _text(record, "question")
        if question is None or _is_blank(question):
            raise AdammsError("'question' is missing or empty")
        image = _text(record, "image")
        task = _text(record, "task") or self.task
        options = Options.of(_texts(record, "options"))
        values = {"question": question} | ({"options": "\n".join(options.lines)} if options.lines else {})
        place = f"{file.name}, line {number}"
        example = Example(
            id=_text(record, "id") or str(number),
            task=task,
            question=self._prompts(bool(options.lines)).filled(task, **values),
            image=None if image is None else image_file(image, file.parent, self.pictures),
            where=place,
        )
        accepted = record.get("answer")
        given = _texts(record, "answer") if isinstance(accepted, list) else (_text(record, "answer") or "",)
        answers = tuple(text for text in given if not _is_blank(text))
        return example, Label(answers, options.texts, place)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line


def _text(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is None:
        return value
    if isinstance(value, str):
        if (half := re.search("[\ud800-\udfff]", value)) is not None:
            raise AdammsError(f"{key!r} has {ascii(half[0])[1:-1]}, half of a character; expected whole ones")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise AdammsError(f"{key!r} is a {type(value).__name__}; expected text")


def _texts(record: dict[str, Any], key: str) -> tuple[str, ...]:
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


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON; null is")
