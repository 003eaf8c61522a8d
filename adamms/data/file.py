"""Questions of one's own, in whatever format they are: JSON lines, JSON, parquet, a dataset's folder.

A row is a question with its fields, or a conversation as LLaVA or OpenAI writes it. All become examples and,
apart from them, labels.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from adamms.data.conversations import FURTHER
from adamms.data.downloads import Downloads
from adamms.data.example import Dataset, Example, Label, Video, Write
from adamms.data.fields import FIELDS, Fields, read_fields
from adamms.data.options import Options
from adamms.data.pictures import NO_FILE, VIDEO, Pictures
from adamms.data.prompts import Prompts
from adamms.data.rows import Format, Row, read_rows, recognised
from adamms.errors import AdammsError, nearest, no_such_path

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # owner/name
SHOWN = 5  # bad rows in a message


@dataclass(frozen=True)
class File:
    """Examples in a file or a folder.

    Args:
        path: of the file or the folder.
        format: None: recognised by name and content.
        split: of a dataset's folder that has several.
        columns: field -> its name in the data, or None where they have no such field.
        prompt: what the models are asked; the row's question replaces `{question}`.
        choice_prompt: the same for a row with options, which replace `{options}` as lettered lines.
        prompts: task -> its own `prompt`.
        choice_prompts: task -> its own `choice_prompt`.
        benchmarks: of these prompts, those that need not be in the data -> other names of the task.
        task: the task of rows without one.
        pictures: a folder for pictures that are in the file itself, or come from elsewhere.
        downloads: whether and how pictures are got that are addresses.
    """

    path: str
    format: Format | None
    split: str | None
    columns: Mapping[str, str | None]
    prompt: str
    choice_prompt: str
    prompts: Mapping[str, str]
    choice_prompts: Mapping[str, str]
    benchmarks: Mapping[str, tuple[str, ...]]
    task: str
    pictures: Path
    downloads: Downloads

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in FIELDS:
                raise AdammsError(
                    f"unknown key data.columns.{name}; expected {', '.join(FIELDS)}.{nearest(name, FIELDS)}"
                )
        for options in (False, True):
            self._prompts(options)

    def _prompts(self, options: bool) -> Prompts:
        """Those of the rows with options, or without."""
        if not options:
            return Prompts("prompt", self.prompt, self.prompts, self.benchmarks)
        places = ("question", "options")
        return Prompts("choice_prompt", self.choice_prompt, self.choice_prompts, self.benchmarks, places)

    def load(self) -> Dataset:
        """Read all rows. Pictures are written, got and decoded when it is known which are asked about.

        Raises:
            AdammsError: no such file, no examples, a prompt for a task that no row has, or bad rows, which
                are named by their numbers.
        """
        found = self._read(Pictures.checked)
        notes: list[str] = []
        for options, own in found.tasks.items():
            self._prompts(options).check(own, found.tasks[not options])
            notes += self._prompts(options).notes(own)

        def write(ids: Collection[str], advance: Callable[[int], None]) -> Sequence[Example]:
            return self._read(Pictures.file, {found.seen[each] for each in ids}, advance).examples

        return found.dataset(notes, write)

    def _read(
        self,
        file: Callable[..., Path],
        wanted: Collection[int] | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> "_Found":
        """What the rows say.

        Args:
            file: of a picture or a video, as a row gives it.
            wanted: the numbers of the rows that count; None: all. It ends after a few that are bad.
        """
        path = self._there()
        try:
            format = self.format or recognised(path)
            found = _Found(path, "line" if format == "jsonl" else "row")
            base = path if path.is_dir() else path.parent
            pictures = Pictures(base, self.pictures, self.downloads)
            for row in read_rows(path, format, self.split):
                if wanted is not None and row.number not in wanted:
                    continue
                try:
                    found.add(row, *self._parse(row, found, partial(file, pictures)))
                except AdammsError as error:
                    found.problems.append(f"{found.unit} {row.number}: {error}")
                advance(1)
                if wanted is not None and (row.number == max(wanted) or len(found.problems) == SHOWN):
                    break
        except OSError as error:
            raise AdammsError(f"data.path: {path}: {error.strerror or error}") from error
        found.check()
        return found

    def _there(self) -> Path:
        path = Path(self.path).expanduser()
        if path.exists():
            return path
        hub = ""
        if HUB_NAME.fullmatch(self.path) and not path.parent.exists():
            hub = f" If it is a dataset of the hub: hf download --repo-type dataset {path} --local-dir FOLDER"
        raise AdammsError(f"data.path: {no_such_path(path)}{hub}")

    def _parse(
        self, row: Row, found: "_Found", file: Callable[..., Path]
    ) -> tuple[Example, Label, Mapping[str, str]]:
        if isinstance(row.values, AdammsError):
            raise row.values
        fields = read_fields(row.values, {name: name for name in FIELDS} | dict(self.columns))
        options = Options.of(fields.options)
        place = f"{found.path.name}, {found.unit} {row.number}"
        files = [file(each) for each in fields.pictures]
        task = fields.task or self.task
        example = Example(
            id=fields.id or str(row.number),
            task=task,
            question=self._asked(fields, task, options),
            image=files[0] if files else None,
            where=place,
            more_images=tuple(files[1:]),
            video=_video(fields.video, file),
        )
        return example, Label(fields.answers, options.texts, place), fields.columns

    def _asked(self, fields: Fields, task: str, options: Options) -> str:
        """The question in its prompt."""
        values = {"question": fields.question}
        values |= {"options": "\n".join(options.lines)} if options.lines else {}
        return self._prompts(bool(options.lines)).filled(task, **values)


def _video(given: Any, file: Callable[..., Path]) -> Video | None:
    """What a row says of a video: it itself, or the list of its frames."""
    if given is None:
        return None
    if not isinstance(given, list):
        return Video((file(given, VIDEO),))
    if not given:
        raise AdammsError("'video' is an empty list; expected its frames")
    return Video(tuple(file(each) for each in given), of_frames=True)


@dataclass
class _Found:
    """What has been read so far.

    Args:
        unit: what a row is called: "line" or "row".
        seen: id -> the number of its row.
        tasks: of rows with options, or without.
    """

    path: Path
    unit: str
    examples: list[Example] = field(default_factory=list)
    answers: dict[str, Label] = field(default_factory=dict)
    columns: dict[str, Mapping[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    tasks: dict[bool, set[str]] = field(default_factory=lambda: {False: set(), True: set()})

    def add(self, row: Row, example: Example, label: Label, columns: Mapping[str, str]) -> None:
        if example.id in self.seen:
            raise AdammsError(f"id {example.id!r} is {self.unit} {self.seen[example.id]}'s too")
        self.seen[example.id] = row.number
        self.examples.append(example)
        self.tasks[bool(label.options)].add(example.task)
        if label.accepted:
            self.answers[example.id] = label
        if columns:
            self.columns[example.id] = columns

    def check(self) -> None:
        """Raise AdammsError for bad rows, or if there is none at all."""
        if self.problems:
            rest = len(self.problems) - SHOWN
            more = f"\n  and {rest} more" if rest > 0 else ""
            shown = "\n  ".join(self.problems[:SHOWN])
            raise AdammsError(f"{self.path}: bad {self.unit}s:\n  {shown}{more}")
        if not self.examples:
            raise AdammsError(f"{self.path}: holds no examples")

    def dataset(self, notes: list[str], write: Write) -> Dataset:
        """All of it.

        Args:
            notes: on the prompts.
            write: as `Dataset` has it.
        """
        if further := sum(FURTHER in columns for columns in self.columns.values()):
            notes.append(f"{further} conversations go on after their first answer; only that is asked for")
        name = self.path.stem or self.path.name
        unwritten = frozenset(e.id for e in self.examples if NO_FILE in e.files)
        return Dataset(name, tuple(self.examples), self.answers, tuple(notes), self.columns, unwritten, write)
