"""How right an answer to an open question is. Nothing before the evaluation sees labels.

Questions with options are scored in one way, whatever the scorer: see `score`.
"""

import re
import string
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Protocol

from annotated_types import Gt, Le

from adamms.data.example import Label
from adamms.engines.answer import normalised
from adamms.engines.words import ARTICLES
from adamms.errors import AdammsError

ACCURACY = "accuracy"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Scorer(Protocol):
    """What the group `evaluate` names."""

    measure: str  # what its scores are, in percent: "accuracy"

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

    measure = ACCURACY

    def __call__(self, answer: str, label: Label) -> float:
        from adamms.evaluate.named_option import says_yes_or_no  # its patterns take long to compile

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

    measure = "ANLS"

    def __call__(self, answer: str, label: Label) -> float:
        return max(self._similarity(normalised(answer), normalised(text)) for text in label.accepted)

    def check(self, label: Label) -> None:
        """Any label will do."""

    def _similarity(self, answer: str, accepted: str) -> float:
        from rapidfuzz.distance import Levenshtein  # many modules, and few runs have use for them

        changes = Levenshtein.distance(answer, accepted) / max(len(answer), len(accepted), 1)
        return 1 - changes if changes < self.threshold else 0.0


class TokenF1:
    """F1 of words with the nearest accepted answer (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1).

    Words are counted as often as they occur, in any order. Punctuation and the articles a, an and the do not
    count, nor case and spacing. Without any words left on one side, F1 is 1 if there are none on the other,
    as in SQuAD 2.0 (Rajpurkar et al. 2018, arXiv:1806.03822).

    >>> TokenF1()("A green five.", Label(("the green digit", "five")))
    0.6666666666666666
    """

    measure = "token F1"

    def __call__(self, answer: str, label: Label) -> float:
        said = _words(answer)
        return max(_f1(said, _words(text)) for text in label.accepted)

    def check(self, label: Label) -> None:
        """Any label will do."""


@dataclass(frozen=True)
class ExtractedAccuracy:
    r"""`ExactAccuracy` of the part that a regular expression finds, in the answer and in the label.

    The last match counts; of a pattern with a group, that group. A text without a match counts whole.

    >>> ExtractedAccuracy(pattern=r"answer\s*:\s*(.+)")("It is five. Answer: six.", Label(("6", "six")))
    1.0

    Args:
        pattern: of Python's `re`; upper and lower case are the same.

    Raises:
        AdammsError: the pattern is none, or has several groups.
    """

    pattern: str

    measure = "accuracy of the extracted answer"

    def __post_init__(self) -> None:
        try:
            groups = self._compiled.groups
        except re.error as error:
            raise AdammsError(
                f"evaluate.scorer.pattern is {self.pattern!r}, which is no regular expression: {error}"
            ) from None
        if groups > 1:
            raise AdammsError(
                f"evaluate.scorer.pattern is {self.pattern!r}, with {groups} groups; expected one, around "
                f"the answer. Groups that only hold together are written (?:...)"
            )

    def __call__(self, answer: str, label: Label) -> float:
        accepted = tuple(self._extracted(text) for text in label.accepted)
        return ExactAccuracy()(self._extracted(answer), Label(accepted))

    def check(self, label: Label) -> None:
        """Any label will do."""

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.IGNORECASE)

    def _extracted(self, text: str) -> str:
        found = self._compiled.findall(text)
        return found[-1] if found else text


def _words(text: str) -> Counter[str]:
    """How often each word occurs, after SQuAD's normalisation."""
    plain = normalised(text).translate(_NO_PUNCTUATION)
    return Counter(word for word in plain.split() if word not in ARTICLES)


def _f1(said: Counter[str], accepted: Counter[str]) -> float:
    """2 x shared words / all words of both."""
    if not said or not accepted:
        return float(said == accepted)
    return 2 * (said & accepted).total() / (said.total() + accepted.total())


def _without_stop(text: str) -> str:
    text = normalised(text)
    return text.rstrip(" .。") or text
