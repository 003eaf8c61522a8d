"""Bisection: where two candidates give the same answer, those between them are taken to give it, too.

Along alpha an answer changes once or twice, so the whole grid need not be asked: a few candidates are, and
where two neighbours among them differ, the one in the middle, and so on. A sample of the inferred answers is
asked as a check. Log-probabilities of inferred answers are interpolated. Knows no signals and no labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from adamms.engines.answer import Answer, between, normalised
from adamms.merge.candidate import Candidate, axes_of
from adamms.search.candidates import shape_of
from adamms.search.evidence import PARENTS, SURENESS, Answers, Ask, Evidence

# At least so many inferred answers are checked, if there are so many.
LEAST = 20
Share = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class Bisection:
    """How the answers of a grid are inferred.

    Args:
        first: where along the grid the candidate is that is asked first, beside both ends; 1: only the ends.
        checked: the share of the inferred answers that is asked as a check, drawn at random.
        error: if a larger share of the checked answers is wrong, everything is asked.
    """

    first: Share
    checked: Share
    error: Share

    def over(self, ask: Ask, needs: Sequence[str], candidates: Sequence[Candidate], seed: int) -> Ask:
        """An `Ask` that infers answers, or `ask` itself where nothing can be inferred.

        Only answers and the log-probabilities of their own tokens can be inferred, and only along one axis.

        Args:
            seed: of the draw of the answers that are checked.
        """
        if set(needs) - {PARENTS, SURENESS} or sum(count > 1 for count in shape_of(candidates)) > 1:
            return ask

        def inferring(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
            return self._inferred(ask, candidates, examples, seed)

        return inferring

    def _inferred(
        self, ask: Ask, candidates: Sequence[Candidate], examples: Sequence[str], seed: int
    ) -> Evidence:
        if len(candidates) < 3:
            return ask(candidates, examples)
        values = max(axes_of(candidates).values(), key=len)  # along the axis in which the candidates differ
        places = sorted({0, round(self.first * (len(candidates) - 1)), len(candidates) - 1})
        first = ask([candidates[place] for place in places], examples)
        known = {place: dict(first.candidates[candidates[place]]) for place in places}
        inferred: list[tuple[int, str]] = []
        gaps = [(left, right, list(examples)) for left, right in pairwise(places)]
        while gaps:
            left, right, part = gaps.pop(0)
            inside = range(left + 1, right)
            changed = [e for e in part if not _same(known[left][e], known[right][e])] if inside else []
            same = set(part) - set(changed)
            for place in inside:
                share = (values[place] - values[left]) / (values[right] - values[left])
                found = {e: between(known[left][e], known[right][e], share) for e in part if e in same}
                known.setdefault(place, {}).update(found)
                inferred += [(place, example) for example in found]
            if changed:
                middle = (left + right) // 2
                known[middle].update(_answers(ask, candidates[middle], changed))
                gaps += [(left, middle, changed), (middle, right, changed)]
        if self._wrong(ask, candidates, known, inferred, seed) > self.error:
            return ask(candidates, examples)
        answers = {candidate: known[place] for place, candidate in enumerate(candidates)}
        return Evidence(answers, first.target, first.donors)

    def _wrong(
        self,
        ask: Ask,
        candidates: Sequence[Candidate],
        known: Mapping[int, dict[str, Answer]],
        inferred: Sequence[tuple[int, str]],
        seed: int,
    ) -> float:
        """The share of wrong answers among those that are checked, which are corrected in `known`."""
        count = min(len(inferred), max(LEAST, round(self.checked * len(inferred))))
        drawn = np.random.default_rng(seed).permutation(len(inferred))[:count]
        checked: dict[int, list[str]] = {}
        for place, example in sorted(inferred[number] for number in drawn.tolist()):
            checked.setdefault(place, []).append(example)
        wrong = 0
        for place, part in checked.items():
            found = _answers(ask, candidates[place], part)
            wrong += sum(not _same(found[example], known[place][example]) for example in part)
            known[place].update(found)
        return wrong / max(1, count)


def _answers(ask: Ask, candidate: Candidate, examples: Sequence[str]) -> Answers:
    return ask([candidate], examples).candidates[candidate]


def _same(one: Answer, other: Answer) -> bool:
    return normalised(one.text) == normalised(other.text)
