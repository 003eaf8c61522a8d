"""What a model is asked; and, apart from it, the right answers.

Engines and the search receive an `Example` only. It has no field for a label, so no search can read one.
Reference answers are in `Dataset.answers`, which only evaluation opens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Example:
    """One unlabelled input.

    >>> Example(id="7", task="vqa", question="What colour is the car?", image=Path("images/7.png")).task
    'vqa'

    Args:
        id: unique within its dataset.
        task: the benchmark or skill it belongs to; the search picks one winner per task.
        question: the user's text, without a chat template.
        image: a file that Pillow decodes; None for a question without an image.
    """

    id: str
    task: str
    question: str
    image: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Examples in a fixed order, and reference answers (example id -> answer) where there are labels."""

    name: str
    examples: tuple[Example, ...]
    answers: Mapping[str, str] = field(default_factory=dict)


class DataSource(Protocol):
    """Where examples come from: what the group `data` names."""

    def load(self) -> Dataset:
        """Read all of it.

        Raises:
            AdammsError: bad data, each fault with its place.
        """
        ...
