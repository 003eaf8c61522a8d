"""How much two answers differ: from 0 for the same answer to 1 for another one. Every signal counts in it."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le
from pydantic import PositiveInt

from adamms.engines.answer import normalised
from adamms.engines.words import words
from adamms.search.choice import EXACT
from adamms.search.resampling import Array

# So many examples, all pairs of them, are enough for the mean difference of unrelated answers.
PAIRED = 100
# Of fewer answers no word is taken for a part of the model's template.
LEAST = 20


class Difference(ABC):
    """A measure between two models' answers to the same examples."""

    @property
    @abstractmethod
    def name(self) -> str:
        """For people: "Answers are compared by ..."."""

    @property
    def graded(self) -> bool:
        """Whether there are values between 0 and 1."""
        return True

    @abstractmethod
    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        """The difference of each pair of answers, in [0, 1] and the same either way; shape (examples,)."""

    def suited(self, answers: Sequence[Sequence[str]]) -> "Difference":
        """The difference for a task in which these answers were given; nothing else is to be used there.

        Args:
            answers: of some models to the same examples, one row for each model.
        """
        return self


@dataclass(frozen=True)
class ExactMatch(Difference):
    """1 where the answers are not the same by `normalised` (paper; the authors' `exact_match`).

    >>> ExactMatch()(["Red", "two"], ["red", "three"]).tolist()
    [0.0, 1.0]
    """

    name = EXACT
    graded = False

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        pairs = zip(left, right, strict=True)
        return np.array([a != b and normalised(a) != normalised(b) for a, b in pairs], dtype=np.float64)


@dataclass(frozen=True)
class Equivalent(Difference):
    """1 where the answers do not consist of the same `words`.

    >>> Equivalent()(["The two dogs.", "no"], ["2 dogs", "none"]).tolist()
    [0.0, 1.0]
    """

    name = "the words that are left without articles, punctuation and case"
    graded = False

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        return np.array([words(a) != words(b) for a, b in zip(left, right, strict=True)], dtype=np.float64)


@dataclass(frozen=True)
class Overlap(Difference):
    """The share of the two answers' `words` that they do not have in common.

    1 - 2 c / (n + m) for answers of n and m words with c in common. For bags of words it is 1 - F1 of SQuAD
    (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1), for words in order 1 - F1 of ROUGE-L (Lin 2004,
    section 3.1).

    >>> Overlap(ordered=True, template=None, corrected=False)(["a red two"], ["The red three."]).tolist()
    [0.5]

    Args:
        ordered: whether c is the longest common subsequence, or all common words wherever they are.
        template: words that some model has in so large a share of its answers to a task are left out by
            `suited`: they are how it speaks, not what it says; see `OverlapWithout`. None: all words count.
        corrected: whether `suited` corrects for chance; see `Corrected`.
    """

    ordered: bool
    template: Annotated[float, Gt(0), Le(1)] | None
    corrected: bool

    _kept: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return "token overlap"

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        from rapidfuzz.distance import Indel  # many modules, and few runs have use for them

        for text in {*left, *right} - self._kept.keys():
            said = self._words(text)
            # Of sorted words the longest common subsequence is all that they have in common.
            self._kept[text] = said if self.ordered else sorted(said)
        kept, pairs = self._kept, zip(left, right, strict=True)
        return np.array([0.0 if a == b else Indel.normalized_distance(kept[a], kept[b]) for a, b in pairs])

    def suited(self, answers: Sequence[Sequence[str]]) -> Difference:
        left_out = template_words(answers, self.template) if self.template else frozenset()
        fitted = OverlapWithout(self.ordered, None, False, left_out) if left_out else self
        return corrected(fitted, answers) if self.corrected else fitted

    def _words(self, text: str) -> list[str]:
        return words(text)


@dataclass(frozen=True)
class OverlapWithout(Overlap):
    """The overlap of what is left of the answers without some words; an answer of nothing else stays.

    >>> OverlapWithout(True, None, False, frozenset(["i", "see"]))(["I see a dog."], ["A dog"]).tolist()
    [0.0]

    Args:
        left_out: as `words` has them.
    """

    left_out: frozenset[str]

    @property
    def name(self) -> str:
        return "token overlap without the words of nearly every answer"

    def _words(self, text: str) -> list[str]:
        said = words(text)
        return [word for word in said if word not in self.left_out] or said


@dataclass(frozen=True)
class Auto(Difference):
    """Exact match where answers are short, else the root of a graded difference; decided by `suited`.

    Args:
        short: most answers have at most so many `words` where exact match is taken.
        long: the root of which is taken elsewhere; see `Rooted`.
    """

    short: PositiveInt
    long: Difference

    name = "exact match or not, by the length of the answers"

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        return self.suited([left, right])(left, right)

    def suited(self, answers: Sequence[Sequence[str]]) -> Difference:
        brief = np.mean([len(words(text)) <= self.short for row in answers for text in row]) >= 0.5
        if brief:
            return Taken(ExactMatch(), f"most answers have at most {self.short} words")
        return Taken(Rooted(self.long.suited(answers)), f"most answers have more than {self.short} words")


@dataclass(frozen=True)
class Rooted(Difference):
    """The square root of a difference.

    1 - F1 of words and 1 - cosine are no distances, their roots are (Gower & Legendre 1986, Journal of
    Classification 3, 5). One word that is another counts more in a long answer, too: of ten words 0.3
    instead of 0.1, before any correction for chance.
    """

    difference: Difference

    @property
    def name(self) -> str:
        return f"the root of {self.difference.name}"

    @property
    def graded(self) -> bool:
        return self.difference.graded

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        return np.sqrt(self.difference(left, right))


@dataclass(frozen=True)
class Corrected(Difference):
    """A difference over that of unrelated answers of the task, cut at 1.

    As in Krippendorff's alpha (Content Analysis, 2004, chapter 11) observed disagreement is divided by that
    which is expected by chance. So words that every answer has do not hide what differs, and a point of D
    means about the same for short and for long answers.

    Args:
        expected: the mean difference of answers to different examples; see `corrected`.
    """

    difference: Difference
    expected: float

    @property
    def name(self) -> str:
        return f"{self.difference.name}, corrected for chance"

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        return np.minimum(1.0, self.difference(left, right) / self.expected)


@dataclass(frozen=True)
class Taken(Difference):
    """A difference that was taken for a reason.

    Args:
        why: half a sentence.
    """

    difference: Difference
    why: str

    @property
    def name(self) -> str:
        return f"{self.difference.name}, because {self.why}"

    @property
    def graded(self) -> bool:
        return self.difference.graded

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        return self.difference(left, right)


def template_words(answers: Sequence[Sequence[str]], share: float) -> frozenset[str]:
    """The words that some model has in at least this share of its answers.

    Of fewer than `LEAST` answers none: there a word can be in most of them by chance.

    >>> colours = ["red", "blue", "green", "white"] * 5
    >>> sorted(template_words([[f"It is {one}." for one in colours], colours], 0.8))
    ['is', 'it']

    Args:
        answers: one row for each model.
    """
    if not answers or len(answers[0]) < LEAST:
        return frozenset()
    counts = [Counter(word for text in row for word in set(words(text))) for row in answers]
    return frozenset(
        word for row in counts for word, count in row.items() if count >= share * len(answers[0])
    )


def corrected(difference: Difference, answers: Sequence[Sequence[str]]) -> Difference:
    """The difference corrected for chance; as it is where nothing is `expected`."""
    by_chance = expected(difference, answers)
    return Corrected(difference, by_chance) if by_chance else difference


def expected(difference: Difference, answers: Sequence[Sequence[str]]) -> float:
    """The mean difference of all pairs of answers to different examples, of any two models; 0 without pairs.

    Of many examples `PAIRED` stand for all: every so many of them, in the order of what was answered.

    Args:
        answers: one row for each model, with the same examples.
    """
    columns = sorted(zip(*answers, strict=True))
    if len(columns) > PAIRED:
        columns = [columns[place] for place in np.linspace(0, len(columns) - 1, PAIRED).round().astype(int)]
    pairs = [(a, b) for one, other in combinations(columns, 2) for a in one for b in other]
    return float(np.mean(difference(*zip(*pairs, strict=True)))) if pairs else 0.0
