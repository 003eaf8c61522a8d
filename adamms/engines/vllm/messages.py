"""What the vLLM engine and its process say to each other. Everything here pickles; vLLM is not imported."""

from dataclasses import dataclass
from pathlib import Path

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import EngineSettings


@dataclass(frozen=True)
class Start:
    """Start vLLM on the model in `folder`."""

    folder: Path
    settings: EngineSettings


@dataclass(frozen=True)
class Load:
    """Put a pickled recipe's merged tensors into the model; `version` is the recipe's fingerprint."""

    recipe: bytes
    version: str


@dataclass(frozen=True)
class Swap:
    """What a `Load` did on one worker.

    Args:
        stale: tensors outside the decoder LM changed, so encoder outputs are not those of this candidate.
        unread: merged tensors of which the worker's model read nothing.
        size: bytes of the models' tensors that were read.
        again: the worker's model read rows that had not been merged. In another `Load` they will be.
    """

    stale: bool
    unread: frozenset[str]
    size: int
    again: bool


@dataclass(frozen=True)
class Ask:
    """Answer these examples: a `Reply` for each, in any order, then `Done`."""

    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Reply:
    """The answer to one example, with the ids of the generated tokens, special ones included.

    >>> Reply("mme/7", Answer("Yes"), ids=(9454, 151645)).answer.text
    'Yes'
    """

    example: str
    answer: Answer
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """Score these (number, example, text): a `Scored` for each, in any order, then `Done`."""

    said: tuple[tuple[int, Example, str], ...]


@dataclass(frozen=True)
class Scored:
    """A text with its log-probabilities, under the number that it was asked with."""

    number: int
    answer: Answer


@dataclass(frozen=True)
class Check:
    """Say what weights the model has: `Checksums`, then `Done`."""


@dataclass(frozen=True)
class Checksums:
    """Rank and parameter -> a checksum of its live values, e.g. "1 lm_head.weight"."""

    of: dict[str, str]


@dataclass(frozen=True)
class Done:
    """A request is finished.

    Args:
        images_encoded: images that have gone through the vision encoder since the start.
        bytes_read: bytes of the models' tensors that each worker has read for the last candidate.
    """

    images_encoded: int
    bytes_read: tuple[int, ...]


@dataclass(frozen=True)
class Refusal:
    """An example that cannot be asked, and why. The engine can go on."""

    reason: str


@dataclass(frozen=True)
class Failure:
    """The engine has failed, and why. `explained`: the process's log would add nothing."""

    reason: str
    explained: bool
