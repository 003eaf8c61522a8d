"""Scores of answers against reference answers. Nothing before the evaluation sees labels."""

from collections.abc import Mapping
from typing import Protocol

from adamms.engines.answer import normalised
from adamms.errors import AdammsError


class Scorer(Protocol):
    """What the group `evaluate` names: answers and labels to one number."""

    unit: str

    def __call__(self, answers: Mapping[str, str], references: Mapping[str, str]) -> float:
        """The score over the examples that have a reference, in [0, 100].

        Args:
            answers, references: example id -> text.
        """
        ...


class ExactAccuracy:
    """Percentage of answers that are the reference, but for what `normalised` removes and a final stop."""

    unit = "%"

    def __call__(self, answers: Mapping[str, str], references: Mapping[str, str]) -> float:
        """In [0, 100], over the examples that have a reference.

        Raises:
            AdammsError: a reference whose example has no answer, or no references.
        """
        if not references:
            raise AdammsError("accuracy needs at least one reference answer")
        if missing := [example for example in references if example not in answers]:
            raise AdammsError(f"no answer to the example {missing[0]!r}")
        right = sum(_plain(answers[example]) == _plain(truth) for example, truth in references.items())
        return 100 * right / len(references)


def _plain(text: str) -> str:
    return normalised(text).removesuffix(".").rstrip()
