"""What a model is asked; and, apart from it, the right answers.

Engines and the search receive an `Example` only. It has no field for a label, so no search can read one.
The right answers are in `Dataset.answers`, which only evaluation opens.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

IMAGE, VIDEO = "<image>", "<video>"  # in a question: where one of its images goes, or its video
MARK = re.compile(f"({IMAGE}|{VIDEO})")


@dataclass(frozen=True)
class Video:
    """Moving pictures: a file that PyAV decodes, or their frames as pictures.

    >>> Video((Path("a.mp4"),)), Video((Path("1.png"), Path("2.png")), of_frames=True).of_frames
    (Video(files=(PosixPath('a.mp4'),), of_frames=False, disturbance=()), True)

    Args:
        files: the one file; or the frames, in order.
        of_frames: which of the two.
        disturbance: seeds of a harmless change of what is seen; () for none.
    """

    files: tuple[Path, ...]
    of_frames: bool = False
    disturbance: tuple[int, ...] = ()


Medium = Path | Video  # an image, or a video


@dataclass(frozen=True)
class Example:
    """One unlabelled input.

    >>> Example(id="7", task="vqa", question="What colour is the car?", image=Path("images/7.png")).task
    'vqa'

    Args:
        id: unique within its dataset.
        task: the benchmark or skill it belongs to; the search picks one winner per task.
        question: the user's text, without a chat template. `<image>` and `<video>` are places, if each is
            there as often as there are images and videos.
        image: a file that Pillow decodes; None for a question without an image.
        where: it was read, for messages; it makes no other example.
        more_images: those beyond the first, in order.
        video: what the question is about beside images, or instead.
    """

    id: str
    task: str
    question: str
    image: Path | None = None
    where: str = field(default="", compare=False)
    more_images: tuple[Path, ...] = ()
    video: Video | None = None

    @property
    def images(self) -> tuple[Path, ...]:
        """All of them, in order."""
        return () if self.image is None else (self.image, *self.more_images)

    @property
    def media(self) -> tuple[Medium, ...]:
        """The images, then the video."""
        return (*self.images, *(() if self.video is None else (self.video,)))

    @property
    def files(self) -> tuple[Path, ...]:
        """Of all media."""
        return (*self.images, *(() if self.video is None else self.video.files))

    @property
    def parts(self) -> tuple[str | Medium, ...]:
        """What the model reads, in order: the media and the texts around them.

        >>> Example("1", "t", "<image> or <image>?", Path("a.png"), more_images=(Path("b.png"),)).parts
        (PosixPath('a.png'), ' or ', PosixPath('b.png'), '?')
        """
        if not self.has_places:
            return (*self.media, self.question)
        images = iter(self.images)
        pieces = (
            next(images) if piece == IMAGE else self.video if piece == VIDEO else piece
            for piece in MARK.split(self.question)
        )
        return tuple(piece for piece in pieces if piece not in ("", None))

    @property
    def has_places(self) -> bool:
        """Whether the question says where its images and its video go; otherwise they go before it."""
        places = self.question.count(IMAGE), self.question.count(VIDEO)
        return bool(self.media) and places == (len(self.images), int(self.video is not None))

    @property
    def name(self) -> str:
        """For messages: "questions.jsonl, line 7", or "example '7'"."""
        return self.where or f"example {self.id!r}"

    @staticmethod
    def names(examples: "Sequence[Example]", most: int = 5) -> str:
        """For messages: the names of several examples, the first ones if they are many."""
        shown = "; ".join(example.name for example in examples[:most])
        return shown + (f" and {len(examples) - most} more" if len(examples) > most else "")


@dataclass(frozen=True)
class Label:
    """What is right for one example.

    >>> str(Label(("red", "dark red", "red")))
    'red / dark red'

    Args:
        accepted: the right answers, each by itself; or what people answered, as often as they did.
        options: letter -> text, where the question has options.
        place: where the label is, for messages, e.g. "questions.jsonl, line 3".
    """

    accepted: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    place: str = ""

    def __str__(self) -> str:
        """For people."""
        return " / ".join(dict.fromkeys(self.accepted))


Write = Callable[[Collection[str], Callable[[int], None]], Sequence[Example]]


@dataclass(frozen=True)
class Dataset:
    """What there is to ask.

    Args:
        name: for people.
        examples: in a fixed order.
        answers: example id -> label, where there is one.
        notes: what may not be meant, in a line each.
        columns: example id -> what else its row says, column by column, for the report.
        unwritten: ids of examples that cannot be asked yet: their pictures are to be written or downloaded.
        write: does so for some of them, and has these examples as they are then.
    """

    name: str
    examples: tuple[Example, ...]
    answers: Mapping[str, Label] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unwritten: frozenset[str] = frozenset()
    write: Write = field(default=lambda ids, advance: (), compare=False)

    def written(self, ids: Collection[str], advance: Callable[[int], None]) -> "Dataset":
        """With the pictures of these examples, which are unwritten, in files.

        Args:
            advance: is told of every example.

        Raises:
            AdammsError: a picture that cannot be downloaded or written, with its row.
        """
        known = {example.id: example for example in (self.write(ids, advance) if ids else ())}
        examples = tuple(known.get(example.id, example) for example in self.examples)
        return replace(self, examples=examples, unwritten=self.unwritten - known.keys())


class DataSource(Protocol):
    """Where examples come from: what the group `data` names."""

    def load(self) -> Dataset:
        """Read all of it.

        Raises:
            AdammsError: bad data, each fault with its place.
        """
        ...
