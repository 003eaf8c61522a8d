"""One input of a run and what every candidate answered, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamms.data.example import Example
from adamms.merge.candidate import Candidate


@dataclass(frozen=True)
class Answered:
    """One input and what came back.

    Args:
        example: the input.
        texts: candidate -> its answer.
        label: the right answer, where it is known. The search never sees it.
        right: candidate -> whether the scorer takes its answer for right; empty where that is not known.
    """

    example: Example
    texts: Mapping[Candidate, str]
    label: str | None = None
    right: Mapping[Candidate, bool] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        image = None if self.example.image is None else str(self.example.image)
        return {
            "example": vars(self.example) | {"image": image},
            "texts": {str(candidate): text for candidate, text in self.texts.items()},
            "label": self.label,
            "right": {str(candidate): judged for candidate, judged in self.right.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Mapping[str, Candidate]) -> "Answered":
        """What `to_json` wrote; `names` says which candidate a name is."""
        given = data["example"]
        image = None if given["image"] is None else Path(given["image"])
        return cls(
            Example(**{**given, "image": image}),
            {names[name]: text for name, text in data["texts"].items()},
            data["label"],
            {names[name]: judged for name, judged in data["right"].items()},
        )
