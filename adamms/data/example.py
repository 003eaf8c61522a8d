"""What a model is asked, and, kept apart from it, what the right answer would be.

`Example` has no field for a label and is all that engines and the search ever receive, so the
search cannot read one. Reference answers live in `Dataset.answers`, which only evaluation opens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Example:
    """One unlabelled input.

    Args:
        id: unique within its dataset.
        task: the benchmark or skill it belongs to; the search picks one winner per task.
        question: the user's text, without any model's chat template.
        image: path of an image that Pillow decodes, or None for a text-only question.
    """

    id: str
    task: str
    question: str
    image: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Examples in a fixed order, and the reference answers (example id -> answer) of those labelled."""

    name: str
    examples: tuple[Example, ...]
    answers: Mapping[str, str] = field(default_factory=dict)
