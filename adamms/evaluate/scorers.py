"""How right an answer to an open question is. Nothing before the evaluation sees labels.

Questions with options are scored in one way, whatever the scorer: see `score`.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

from annotated_types import Gt, Le
from rapidfuzz.distance import Levenshtein

from adamms.data.example import Label
from adamms.engines.answer import normalised
from adamms.evaluate.named_option import says_yes_or_no


class Scorer(Protocol):
    """What the group `evaluate` names."""

    unit: str

    def __call__(self, answer: str, label: Label) -> float:
        """How right the answer is, in [0, 1]."""
        ...

    def check(self, label: Label) -> None:
        """Look at a label before any work.

        Raises:
            AdammsError: the scorer cannot use a label of this kind.
        """
        ...


class ExactAccuracy:
    """1 for an accepted answer, but for what `normalised` removes and a final stop; else 0.

    Where yes or no is accepted, a sentence that says one of them counts as it: "Yes, there is."
    """

    unit = "%"

    def __call__(self, answer: str, label: Label) -> float:
        accepted = {_without_stop(text) for text in label.accepted}
        if accepted <= {"yes", "no"}:
            return float(says_yes_or_no(answer) in accepted)
        return float(_without_stop(answer) in accepted)

    def check(self, label: Label) -> None:
        """Any label will do."""


@dataclass(frozen=True)
class Anls:
    """Average normalised Levenshtein similarity (Biten et al. 2019, ICCV, arXiv:1905.13648, section 5).

    1 - NL to the nearest accepted answer, 0 where NL >= threshold. NL is the number of letters to change, put
    in or take out, over the length of the longer text; case and spacing do not matter. At NL = threshold the
    scripts of DocVQA and lmms-eval give 1 - NL.

    >>> Anls(threshold=0.5)("Delta  Airlines", Label(("delta airline", "delta")))
    0.9285714285714286

    Args:
        threshold: of NL.
    """

    threshold: Annotated[float, Gt(0), Le(1)]

    unit = "%"

    def __call__(self, answer: str, label: Label) -> float:
        return max(self._similarity(normalised(answer), normalised(text)) for text in label.accepted)

    def check(self, label: Label) -> None:
        """Any label will do."""

    def _similarity(self, answer: str, accepted: str) -> float:
        changes = Levenshtein.distance(answer, accepted) / max(len(answer), len(accepted), 1)
        return 1 - changes if changes < self.threshold else 0.0


def _without_stop(text: str) -> str:
    text = normalised(text)
    return text.rstrip(" .。") or text
