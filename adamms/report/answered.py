"""One input of a run and what every candidate answered, as plain data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from adamms.data.example import Example
from adamms.merge.candidate import Candidate

# A candidate that is a key of JSON: the text of its own JSON, so that no digit is lost.
Key = Annotated[
    Candidate,
    PlainValidator(lambda text: Candidate.from_json(json.loads(text))),
    PlainSerializer(lambda candidate: json.dumps(candidate.to_json())),
]


@dataclass(frozen=True)
class Answered:
    """One input and what came back.

    Args:
        example: the input.
        texts: candidate -> its answer.
        label: the right answer, where it is known. The search never sees it.
        text: the answer of a model that was evaluated by itself.
        columns: what else the data say of it.
    """

    example: Example
    texts: Mapping[Key, str]
    label: str | None = None
    text: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
