"""Bisection: only what decides the choice is asked; other answers are taken from those beside them.

Along alpha an answer changes once or twice, so the whole grid need not be asked: both ends and a candidate
between are, then the candidates that win so far, over all and over each task, and their neighbours, until
they stay. An answer between two that were asked is one of theirs; where they differ, the place at which it
changes is drawn at random for each example. Where they answer nearly alike it counts as inferred, and a
sample of these is asked as a check; elsewhere it is a guess, right on average over the examples. So a
candidate that wins only between two that were asked can stay unseen. Knows no signals and no labels.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from adamms.engines.answer import BENT_SCORES, Answer, between
from adamms.merge.candidate import Candidate, axes_of
from adamms.search.candidates import shape_of
from adamms.search.evidence import DONORS, PARENTS, SCORES, SURENESS, Answers, Ask, Evidence
from adamms.search.task_differences import TaskDifferences

# At least so many inferred answers are checked, if there are so many.
LEAST = 20
# What a strategy may need beside the candidates' answers, which can be inferred with them or is asked once.
INFERABLE = {PARENTS, DONORS, SURENESS, SCORES}
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

        Only what is `INFERABLE` can be inferred, and only along one axis.
        In the end every winner and its neighbours have answered all examples that it wins, but for those that
        were inferred.

        Args:
            suited: how the answers of each task are compared, by those of the first candidates asked.
            seed: of the draw of the answers that are checked.
        """
        if set(needs) - INFERABLE or sum(count > 1 for count in shape_of(candidates)) > 1:
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
        first = ask([candidates[place] for place in sorted({0, round(self.first * last), last})], examples)
        grid = _Grid(candidates, examples, suited(first), self.near, seed)
        grid.add(first)
        checked = False
        while True:
            filled = grid.filled(first)
            wanted = _decisive(winners(filled, grid.differences), [filled.guessed[c] for c in candidates])
            if not wanted and checked:
                return filled
            found = [
                ask([candidates[place]], part)
                for place, part in (wanted or self._sample(filled, seed)).items()
            ]
            if not wanted:
                if self._wrong(grid.differences, filled, found) > self.error:
                    return ask(candidates, examples)
                checked = True
            for evidence in found:
                grid.add(evidence)

    def _sample(self, filled: Evidence, seed: int) -> dict[int, list[str]]:
        """The inferred answers that are checked: place -> examples."""
        inferred = [
            (place, example)
            for place, candidate in enumerate(filled.order)
            for example in filled.candidates[candidate]
            if example in filled.inferred[candidate]
        ]
        count = min(len(inferred), max(LEAST, round(self.checked * len(inferred))))
        drawn = np.random.default_rng(seed).permutation(len(inferred))[:count]
        sample: dict[int, list[str]] = {}
        for place, example in sorted(inferred[number] for number in drawn.tolist()):
            sample.setdefault(place, []).append(example)
        return sample

    def _wrong(self, differences: TaskDifferences, inferred: Evidence, found: Sequence[Evidence]) -> float:
        """The share of the answers found that are further than `near` from what was inferred."""
        apart = [
            differences.between(given, inferred.candidates[candidate], list(given))
            for evidence in found
            for candidate, given in evidence.candidates.items()
        ]
        return float(np.mean(np.concatenate(apart) > self.near)) if apart else 0.0


class _Grid:
    """What was asked along a grid, and what follows from it.

    Args:
        candidates: in increasing order; they differ in one axis.
        near: see `Bisection`.
        seed: of where answers change that are not known to.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
        differences: TaskDifferences,
        near: float,
        seed: int,
    ) -> None:
        self.candidates = candidates
        self.examples = examples
        self.differences = differences
        self.near = near
        self.values = max(axes_of(candidates).values(), key=len)
        self.asked: list[dict[str, Answer]] = [{} for _ in candidates]  # by place
        self.scored: list[dict[str, Answers]] = [{} for _ in candidates]
        # How far along a gap each example's answer changes: evenly spread over the examples, so that what is
        # summed over them is right on average.
        drawn = (np.random.default_rng(seed).permutation(len(examples)) + 0.5) / len(examples)
        self.switches = dict(zip(examples, drawn.tolist(), strict=True))

    def add(self, evidence: Evidence) -> None:
        """What some candidates were asked."""
        for candidate, answers in evidence.candidates.items():
            place = self.candidates.index(candidate)
            self.asked[place].update(answers)
            self.scored[place].update(evidence.scored.get(candidate, {}))

    def filled(self, first: Evidence) -> Evidence:
        """Answers and scores everywhere.

        Args:
            first: has the parents' answers.
        """
        answers, scored = [dict(known) for known in self.asked], [dict(known) for known in self.scored]
        inferred: list[set[str]] = [set() for _ in self.candidates]
        guessed: list[set[str]] = [set() for _ in self.candidates]
        for (left, right), part in self._gaps().items():
            apart = self.differences.between(self.asked[left], self.asked[right], part)
            near = {example for example, value in zip(part, apart, strict=True) if value <= self.near}
            for place in range(left + 1, right):
                share = (self.values[place] - self.values[left]) / (self.values[right] - self.values[left])
                for example in part:
                    ends = self.asked[left][example], self.asked[right][example]
                    answers[place][example] = between(*ends, share, switch=self.switches[example])
                    scored[place][example] = self._scores(left, right, example, share)
                inferred[place] |= near
                guessed[place].update(example for example in part if example not in near)
        return replace(
            first,
            candidates=dict(zip(self.candidates, answers, strict=True)),
            scored=dict(zip(self.candidates, scored, strict=True)),
            inferred=dict(zip(self.candidates, inferred, strict=True)),
            guessed=dict(zip(self.candidates, guessed, strict=True)),
        )

    def _scores(self, left: int, right: int, example: str, share: float) -> Answers:
        """Of the texts that both were given."""
        one, other = (self.scored[place].get(example, {}) for place in (left, right))
        return {text: between(one[text], other[text], share, BENT_SCORES) for text in one}

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
    winners: Sequence[tuple[int, Sequence[str]]], guessed: Sequence[Set[str]]
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
