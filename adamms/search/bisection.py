"""Bisection: where two candidates give nearly the same answer, those between them are taken to give it, too.

Along alpha an answer changes once or twice, so the whole grid need not be asked: a few candidates are, and
where two neighbours among them differ, the one in the middle, and so on. A sample of the inferred answers is
asked as a check. Log-probabilities of inferred answers are interpolated. Knows no signals and no labels.
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


@dataclass(frozen=True)
class Bisection:
    """How the answers of a grid are inferred.

    Args:
        first: where along the grid the candidate is that is asked first, beside both ends; 1: only the ends.
        near: the difference up to which two answers are taken for nearly the same. With exact match they
            always have to be the same.
        checked: the share of the inferred answers that is asked as a check, drawn at random.
        error: if the checked answers differ by more than that from what was inferred, on average, everything
            is asked. With exact match it is the share of wrong ones.
    """

    first: Share
    near: Annotated[float, Ge(0), Lt(1)]
    checked: Share
    error: Share

    def over(
        self, ask: Ask, needs: Sequence[str], candidates: Sequence[Candidate], suited: Suited, seed: int
    ) -> Ask:
        """An `Ask` that infers answers, or `ask` itself where nothing can be inferred.

        Only answers and the log-probabilities of their own tokens can be inferred, and only along one axis.

        Args:
            suited: how the answers of each task are compared, by those of the first candidates asked.
            seed: of the draw of the answers that are checked.
        """
        if set(needs) - {PARENTS, SURENESS} or sum(count > 1 for count in shape_of(candidates)) > 1:
            return ask

        def inferring(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
            return self._inferred(ask, candidates, examples, suited, seed)

        return inferring

    def _inferred(
        self,
        ask: Ask,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
        suited: Suited,
        seed: int,
    ) -> Evidence:
        if len(candidates) < 3:
            return ask(candidates, examples)
        values = max(axes_of(candidates).values(), key=len)  # along the axis in which the candidates differ
        places = sorted({0, round(self.first * (len(candidates) - 1)), len(candidates) - 1})
        first = ask([candidates[place] for place in places], examples)
        differences = suited(first)
        known = {place: dict(first.candidates[candidates[place]]) for place in places}
        inferred: list[tuple[int, str]] = []
        gaps = [(left, right, list(examples)) for left, right in pairwise(places)]
        while gaps:
            left, right, part = gaps.pop(0)
            inside = range(left + 1, right)
            if not inside:
                continue
            apart = differences.between(known[left], known[right], part)
            near = [example for example, far in zip(part, apart, strict=True) if far <= self.near]
            changed = [example for example, far in zip(part, apart, strict=True) if far > self.near]
            for place in inside:
                share = (values[place] - values[left]) / (values[right] - values[left])
                found = {e: between(known[left][e], known[right][e], share) for e in near}
                known.setdefault(place, {}).update(found)
                inferred += [(place, example) for example in found]
            if changed:
                middle = (left + right) // 2
                known[middle].update(_answers(ask, candidates[middle], changed))
                gaps += [(left, middle, changed), (middle, right, changed)]
        if self._wrong(ask, candidates, known, inferred, differences, seed) > self.error:
            return ask(candidates, examples)
        answers = {candidate: known[place] for place, candidate in enumerate(candidates)}
        return Evidence(answers, first.target, first.donors)

    def _wrong(
        self,
        ask: Ask,
        candidates: Sequence[Candidate],
        known: Mapping[int, dict[str, Answer]],
        inferred: Sequence[tuple[int, str]],
        differences: TaskDifferences,
        seed: int,
    ) -> float:
        """The mean difference of the answers that are checked, which are corrected in `known`."""
        count = min(len(inferred), max(LEAST, round(self.checked * len(inferred))))
        drawn = np.random.default_rng(seed).permutation(len(inferred))[:count]
        checked: dict[int, list[str]] = {}
        for place, example in sorted(inferred[number] for number in drawn.tolist()):
            checked.setdefault(place, []).append(example)
        wrong = 0.0
        for place, part in checked.items():
            found = _answers(ask, candidates[place], part)
            wrong += float(differences.between(found, known[place], part).sum())
            known[place].update(found)
        return wrong / max(1, count)


def _answers(ask: Ask, candidate: Candidate, examples: Sequence[str]) -> Answers:
    return ask([candidate], examples).candidates[candidate]
