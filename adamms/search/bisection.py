"""Bisection: only what decides the choice is asked; other answers are taken from those beside them.

Along alpha an answer changes once or twice, so the whole grid need not be asked: both ends and a candidate
between are, then the candidates that win so far, over all and over each task, and their neighbours, until
they stay. Where the nearest two that were asked answer nearly alike, an answer between them is inferred, and
a sample of these is asked as a check; elsewhere the nearer one stands for it, unchecked. So a candidate that
wins only between two that were asked can stay unseen. Knows no signals and no labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from adamms.engines.answer import Answer, between
from adamms.merge.candidate import Candidate, axes_of
from adamms.search.candidates import shape_of
from adamms.search.evidence import PARENTS, SURENESS, Answers, Ask, Evidence
from adamms.search.task_differences import TaskDifferences

# At least so many inferred answers are checked, if there are so many.
LEAST = 20
Share = Annotated[float, Gt(0), Le(1)]
Suited = Callable[[Evidence], TaskDifferences]
# The candidates that win by this evidence, over all examples and then over each task: (place, examples).
Winners = Callable[[Evidence, TaskDifferences], Sequence[tuple[int, Sequence[str]]]]


@dataclass(frozen=True)
class Bisection:
    """How the answers of a grid are inferred.

    Args:
        first: where along the grid the candidate is that is asked first, beside both ends; 1: only the ends.
        near: the difference up to which two answers are taken for nearly the same. With exact match they
            always have to be the same.
        checked: the share of the inferred answers that is asked as a check, drawn at random.
        error: if a larger share of the checked answers is further than `near` from what was inferred,
            everything is asked.
    """

    first: Share
    near: Annotated[float, Ge(0), Lt(1)]
    checked: Share
    error: Share

    def over(
        self,
        ask: Ask,
        needs: Sequence[str],
        candidates: Sequence[Candidate],
        suited: Suited,
        winners: Winners,
        seed: int,
    ) -> Ask:
        """An `Ask` that infers answers, or `ask` itself where nothing can be inferred.

        Only answers and the log-probabilities of their own tokens can be inferred, and only along one axis.
        In the end every winner and its neighbours have answered all examples that it wins, but for those that
        were inferred.

        Args:
            suited: how the answers of each task are compared, by those of the first candidates asked.
            seed: of the draw of the answers that are checked.
        """
        if set(needs) - {PARENTS, SURENESS} or sum(count > 1 for count in shape_of(candidates)) > 1:
            return ask

        def inferring(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
            if len(candidates) < 3:
                return ask(candidates, examples)
            return self._inferred(ask, candidates, examples, suited, winners, seed)

        return inferring

    def _inferred(
        self,
        ask: Ask,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
        suited: Suited,
        winners: Winners,
        seed: int,
    ) -> Evidence:
        last = len(candidates) - 1
        places = sorted({0, round(self.first * last), last})
        first = ask([candidates[place] for place in places], examples)
        grid = _Grid(candidates, examples, suited(first), self.near)
        for place in places:
            grid.asked[place].update(first.candidates[candidates[place]])
        checked = False
        while True:
            answers, inferred, guessed = grid.filled()
            evidence = Evidence(dict(zip(candidates, answers, strict=True)), first.target, first.donors)
            wanted = _decisive(winners(evidence, grid.differences), guessed)
            if not wanted and checked:
                return evidence
            sample = {} if wanted else self._sample(inferred, seed)
            found = {
                place: _answers(ask, candidates[place], part) for place, part in (wanted or sample).items()
            }
            if not wanted:
                if self._wrong(grid.differences, answers, found) > self.error:
                    return ask(candidates, examples)
                checked = True
            for place, given in found.items():
                grid.asked[place].update(given)

    def _sample(self, inferred: Sequence[tuple[int, str]], seed: int) -> dict[int, list[str]]:
        """The inferred answers that are checked: place -> examples."""
        count = min(len(inferred), max(LEAST, round(self.checked * len(inferred))))
        drawn = np.random.default_rng(seed).permutation(len(inferred))[:count]
        sample: dict[int, list[str]] = {}
        for place, example in sorted(inferred[number] for number in drawn.tolist()):
            sample.setdefault(place, []).append(example)
        return sample

    def _wrong(
        self,
        differences: TaskDifferences,
        inferred: Sequence[Mapping[str, Answer]],
        found: Mapping[int, Answers],
    ) -> float:
        """The share of the answers found that are further than `near` from what was inferred."""
        apart = [differences.between(given, inferred[place], list(given)) for place, given in found.items()]
        return float(np.mean(np.concatenate(apart) > self.near)) if apart else 0.0


class _Grid:
    """What was asked along a grid, and what follows from it.

    Args:
        candidates: in increasing order; they differ in one axis.
        near: see `Bisection`.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
        differences: TaskDifferences,
        near: float,
    ) -> None:
        self.candidates = candidates
        self.examples = examples
        self.differences = differences
        self.near = near
        self.values = max(axes_of(candidates).values(), key=len)
        self.asked: list[dict[str, Answer]] = [{} for _ in candidates]  # by place

    def filled(self) -> tuple[list[dict[str, Answer]], list[tuple[int, str]], list[set[str]]]:
        """All answers, by place; those that were inferred: (place, example); those guessed, by place."""
        answers = [dict(known) for known in self.asked]
        inferred: list[tuple[int, str]] = []
        guessed: list[set[str]] = [set() for _ in self.candidates]
        for (left, right), part in self._gaps().items():
            apart = self.differences.between(self.asked[left], self.asked[right], part)
            near = apart <= self.near
            for place in range(left + 1, right):
                share = (self.values[place] - self.values[left]) / (self.values[right] - self.values[left])
                for example in part:
                    ends = self.asked[left][example], self.asked[right][example]
                    answers[place][example] = between(*ends, share)
                inferred += [(place, example) for example, sure in zip(part, near, strict=True) if sure]
                guessed[place].update(e for e, sure in zip(part, near, strict=True) if not sure)
        return answers, inferred, guessed

    def _gaps(self) -> dict[tuple[int, int], list[str]]:
        """Two places with others between them -> the examples that were asked there, and not between."""
        gaps: dict[tuple[int, int], list[str]] = {}
        for example in self.examples:
            places = [place for place, known in enumerate(self.asked) if example in known]
            for left, right in pairwise(places):
                if right - left > 1:
                    gaps.setdefault((left, right), []).append(example)
        return gaps


def _decisive(
    winners: Sequence[tuple[int, Sequence[str]]], guessed: Sequence[set[str]]
) -> dict[int, list[str]]:
    """Place -> examples of the guessed answers of winners or, where there are none, of their neighbours."""
    for steps in ((0,), (-1, 1)):
        wanted: dict[int, dict[str, None]] = {}
        for winner, examples in winners:
            for place in (winner + step for step in steps if 0 <= winner + step < len(guessed)):
                wanted.setdefault(place, {}).update(dict.fromkeys(e for e in examples if e in guessed[place]))
        if found := {place: list(part) for place, part in wanted.items() if part}:
            return found
    return {}


def _answers(ask: Ask, candidate: Candidate, examples: Sequence[str]) -> Answers:
    return ask([candidate], examples).candidates[candidate]
