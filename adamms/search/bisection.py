"""Bisection: only what decides the choice is asked; other answers are taken from those beside them.

Along alpha an answer changes once or twice, so the whole grid need not be asked: both ends and a candidate
between are, then the candidate that wins so far and its neighbours, until the winner stays. Where the nearest
two that were asked answer nearly alike, an answer between them is inferred, and a sample of these is asked
as a check; elsewhere the nearer one stands for it. Knows no signals and no labels.
"""

from collections.abc import Callable, Iterator, Sequence
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
        What wins over a task has answered all of it, and what wins over all has, and so have its neighbours,
        but for what is inferred.

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
        while True:
            answers, inferred, guessed = grid.filled()
            evidence = Evidence(dict(zip(candidates, answers, strict=True)), first.target, first.donors)
            wanted = next(_decisive(winners(evidence, grid.differences), guessed), None)
            if wanted is None:
                break
            place, missing = wanted
            grid.asked[place].update(_answers(ask, candidates[place], missing))
        if self._wrong(ask, grid, answers, inferred, seed) > self.error:
            return ask(candidates, examples)
        return evidence

    def _wrong(
        self,
        ask: Ask,
        grid: "_Grid",
        answers: Sequence[dict[str, Answer]],
        inferred: Sequence[tuple[int, str]],
        seed: int,
    ) -> float:
        """The share of wrong answers among those that are checked, which are corrected in `answers`."""
        count = min(len(inferred), max(LEAST, round(self.checked * len(inferred))))
        drawn = np.random.default_rng(seed).permutation(len(inferred))[:count]
        checked: dict[int, list[str]] = {}
        for place, example in sorted(inferred[number] for number in drawn.tolist()):
            checked.setdefault(place, []).append(example)
        wrong = 0
        for place, part in checked.items():
            found = _answers(ask, grid.candidates[place], part)
            wrong += int((grid.differences.between(found, answers[place], part) > self.near).sum())
            answers[place].update(found)
        return wrong / max(1, count)


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
) -> Iterator[tuple[int, list[str]]]:
    """The place and examples of guessed answers that decide: of the winner, then of its neighbours."""
    overall, everything = winners[0]
    beside = [place for place in (overall - 1, overall + 1) if 0 <= place < len(guessed)]
    for place, examples in [(overall, everything), *((p, everything) for p in beside), *winners[1:]]:
        if missing := [example for example in examples if example in guessed[place]]:
            yield place, missing


def _answers(ask: Ask, candidate: Candidate, examples: Sequence[str]) -> Answers:
    return ask([candidate], examples).candidates[candidate]
