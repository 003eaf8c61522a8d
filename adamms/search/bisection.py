"""Bisection: where two candidates answer alike, those between them are taken to answer so, too.

Along alpha an answer changes once or twice, so most of a grid need not be asked: a few candidates are, and
where two neighbours among them differ, the one in the middle, and so on. How often that infers a wrong answer
is found by asking a sample of what was inferred. Log-probabilities of inferred answers are interpolated.
Knows no signals and no labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le
from pydantic import NonNegativeInt

from adamms.engines.answer import Answer, between
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate, axes_of
from adamms.search.candidates import shape_of
from adamms.search.evidence import PARENTS, SURENESS, Answers, Ask, Evidence

# Inferred answers that are asked at least, where there are so many.
LEAST = 20


@dataclass(frozen=True)
class Bisection:
    """How the answers of a grid are inferred.

    Args:
        first: how far along the grid, as a share of it, the candidate is that is always asked beside both
            ends; 1 for the ends alone.
        checked: the share of the inferred answers that is asked nonetheless, drawn at random.
        error: if a larger share of those is wrong, all that was inferred is asked.
        seed: of the draw.
    """

    first: Annotated[float, Gt(0), Le(1)] = 0.6
    checked: Annotated[float, Gt(0), Le(1)] = 0.02
    error: Annotated[float, Gt(0), Le(1)] = 0.05
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if not 0 < self.first <= 1 or not 0 < self.checked <= 1 or not 0 <= self.error <= 1:
            raise AdammsError(
                f"search.bisection: first is {self.first}, checked {self.checked}, error {self.error}; "
                f"expected shares"
            )

    def over(self, ask: Ask, needs: Sequence[str], candidates: Sequence[Candidate]) -> Ask:
        """An `Ask` that infers; the one given where it cannot.

        That is where more is needed than the answers of candidates and parents and how sure they are of
        them, and on a grid of several axes.
        """
        if set(needs) - {PARENTS, SURENESS} or sum(count > 1 for count in shape_of(candidates)) > 1:
            return ask

        def inferring(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
            return self._inferred(ask, candidates, examples)

        return inferring

    def _inferred(self, ask: Ask, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        if len(candidates) < 3:
            return ask(candidates, examples)
        along = max(axes_of(candidates).values(), key=len)  # the numbers in which the candidates differ
        places = _always(len(candidates), self.first)
        first = ask([candidates[place] for place in places], examples)
        said = {place: dict(first.candidates[candidates[place]]) for place in places}
        inferred: list[tuple[int, str]] = []
        gaps = [(left, right, list(examples)) for left, right in pairwise(places)]
        while gaps:
            left, right, named = gaps.pop(0)
            inside = range(left + 1, right)
            apart = [e for e in named if not _same(said[left][e], said[right][e])] if inside else []
            differ = set(apart)
            for place in inside:
                share = (along[place] - along[left]) / (along[right] - along[left])
                alike = {e: between(said[left][e], said[right][e], share) for e in named if e not in differ}
                said.setdefault(place, {}).update(alike)
                inferred += [(place, example) for example in alike]
            if apart:
                middle = (left + right) // 2
                said[middle].update(_answers(ask, candidates[middle], apart))
                gaps += [(left, middle, apart), (middle, right, apart)]
        if self._wrong(ask, candidates, said, inferred) > self.error:
            return ask(candidates, examples)
        answers = {candidate: said[place] for place, candidate in enumerate(candidates)}
        return Evidence(answers, first.target, first.donors)

    def _wrong(
        self,
        ask: Ask,
        candidates: Sequence[Candidate],
        said: Mapping[int, dict[str, Answer]],
        inferred: Sequence[tuple[int, str]],
    ) -> float:
        """The share of wrong ones among those inferred that are asked now, and put right."""
        count = min(len(inferred), max(LEAST, round(self.checked * len(inferred))))
        drawn = np.random.default_rng(self.seed).permutation(len(inferred))[:count]
        wanted: dict[int, list[str]] = {}
        for place, example in sorted(inferred[number] for number in drawn.tolist()):
            wanted.setdefault(place, []).append(example)
        wrong = 0
        for place, named in wanted.items():
            found = _answers(ask, candidates[place], named)
            wrong += sum(not _same(found[example], said[place][example]) for example in named)
            said[place].update(found)
        return wrong / max(1, count)


def _always(count: int, first: float) -> list[int]:
    """Both ends of `count` places and the one that lies `first` of the way from one to the other."""
    return sorted({0, round(first * (count - 1)), count - 1})


def _answers(ask: Ask, candidate: Candidate, examples: Sequence[str]) -> Answers:
    return ask([candidate], examples).candidates[candidate]


def _same(one: Answer, other: Answer) -> bool:
    return one.text.casefold() == other.text.casefold()
