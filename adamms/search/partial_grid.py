"""The answers of a grid of which only some were asked, and what follows from them for the others.

Along alpha an answer changes once or twice. Where both sides say the same it is taken for that, as sure as a
curve through all that were asked has it; where they differ it is one of the two, and the place at which it
changes is drawn several times: how much D varies over the draws says what guessing leaves open. Knows no
rules of what to ask.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from adamms.engines.answer import Answer, normalised
from adamms.merge.candidate import Candidate, axes_of
from adamms.search.evidence import Evidence
from adamms.search.interpolation import along
from adamms.search.resampling import SAME
from adamms.search.signals.signal import Signal
from adamms.search.task_differences import TaskDifferences

DRAWS = 6
# Between two answers that are the same a model is surer than at both; of texts that it is given it is not.
BENT = 0.6
Mask = npt.NDArray[np.bool_]


class PartialGrid:
    """What was asked along a grid, and what follows from it.

    Args:
        candidates: in increasing order; they differ in one axis.
        first: what was asked first: all examples of at least the first and the last candidate.
        signal: says what each example holds against each candidate; by answers to examples of its task.
        seed: of where answers change.

    Attributes:
        held: what each example says against each candidate in every draw; shape (draws, examples,
            candidates).
        inferred, guessed: answers that were not asked, between two that do not differ, or that do; shape
            (examples, candidates).
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
        first: Evidence,
        signal: Signal,
        differences: TaskDifferences,
        seed: int,
    ) -> None:
        self.candidates, self.examples = candidates, examples
        self.first, self.signal, self.differences = first, signal, differences
        self.values: Sequence[float] = max(axes_of(candidates).values(), key=len)
        shape = len(examples), len(candidates)
        self.held = np.empty((DRAWS, *shape))
        self.inferred, self.guessed = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        self._asked: list[dict[str, Answer]] = [{} for _ in candidates]  # by place
        self._scored: list[dict[str, dict[str, Answer]]] = [{} for _ in candidates]
        # By place and example: two answers, of which the first counts where the answer changes further along
        # the gap than that share.
        self._between: list[dict[str, tuple[Answer, Answer, float]]] = [{} for _ in candidates]
        # How far along a gap each answer changes: evenly spread over the examples, so that what is summed
        # over them is right on average.
        rng = np.random.default_rng(seed)
        self._switches = [(rng.permutation(len(examples)) + 0.5) / len(examples) for _ in range(DRAWS)]
        self.add([first])

    def add(self, found: Sequence[Evidence]) -> None:
        """What some candidates were asked."""
        changed: set[str] = set()
        for evidence in found:
            for candidate, answers in evidence.candidates.items():
                place, scored = self.candidates.index(candidate), evidence.scored.get(candidate, {})
                self._asked[place].update(answers)
                self._scored[place].update({example: dict(scored[example]) for example in answers if scored})
                changed.update(answers)
        for example in changed:
            self._fill(example)
        self._mark([number for number, example in enumerate(self.examples) if example in changed])
        tasks, across = {self.differences.tasks[example] for example in changed}, self.signal.across
        numbers = [n for n, e in enumerate(self.examples) if across or self.differences.tasks[e] in tasks]
        examples = [self.examples[number] for number in numbers]
        for draw in range(DRAWS):
            held = self.differences.held(self.signal, self.evidence(examples, draw), examples)
            self.held[draw, numbers] = held.T

    def evidence(self, examples: Sequence[str], draw: int = 0) -> Evidence:
        """Answers and scores everywhere."""
        numbers = {example: number for number, example in enumerate(self.examples)}
        order = [(example, self._switches[draw][numbers[example]]) for example in examples]
        return replace(
            self.first,
            candidates={
                candidate: {example: self._answer(place, example, switch) for example, switch in order}
                for place, candidate in enumerate(self.candidates)
            },
            scored={
                candidate: {example: scored[example] for example in examples if scored}
                for candidate, scored in zip(self.candidates, self._scored, strict=True)
            },
            inferred=self._marked(self.inferred),
            guessed=self._marked(self.guessed),
        )

    def open(self, places: Sequence[int], examples: Mask) -> dict[int, list[str]]:
        """The guessed answers at some places to some examples: place -> examples."""
        found = {place: np.flatnonzero(self.guessed[:, place] & examples) for place in sorted(set(places))}
        return {
            place: [self.examples[n] for n in numbers] for place, numbers in found.items() if len(numbers)
        }

    def _answer(self, place: int, example: str, switch: float) -> Answer:
        if example in self._asked[place]:
            return self._asked[place][example]
        left, right, share = self._between[place][example]
        return left if share < switch + SAME else right

    def _marked(self, marks: Mask) -> dict[Candidate, set[str]]:
        """Candidate -> examples."""
        columns = zip(self.candidates, marks.T, strict=True)
        return {c: {self.examples[n] for n in np.flatnonzero(column).tolist()} for c, column in columns}

    def _known(self, example: str) -> list[int]:
        """The places at which it was asked."""
        return [place for place, asked in enumerate(self._asked) if example in asked]

    def _fill(self, example: str) -> None:
        """Whatever lies between what was asked of this example."""
        known = self._known(example)
        missing = [place for place in range(len(self.candidates)) if place not in known]
        for place in missing if self._scored[known[0]] else ():
            self._scored[place][example] = {}
        for text in self._scored[known[0]].get(example, {}):
            given = [self._scored[place][example][text] for place in known]
            for place, answer in zip(missing, self._along(known, given, missing, 0.0), strict=True):
                self._scored[place][example][text] = answer
        runs: list[list[int]] = []
        for place in known:
            if runs and _match(self._asked[runs[-1][-1]][example], self._asked[place][example]):
                runs[-1].append(place)
            else:
                runs.append([place])
        for run in runs:
            inside = [place for place in missing if run[0] < place < run[-1]]
            said = [self._asked[place][example] for place in run]
            for place, answer in zip(inside, self._along(run, said, inside, BENT), strict=True):
                self._between[place][example] = answer, answer, 0.0
        for before, after in pairwise(runs):
            left, right = before[-1], after[0]
            for place in range(left + 1, right):
                share = (self.values[place] - self.values[left]) / (self.values[right] - self.values[left])
                self._between[place][example] = self._asked[left][example], self._asked[right][example], share

    def _along(
        self, known: Sequence[int], answers: Sequence[Answer], wanted: Sequence[int], bent: float
    ) -> list[Answer]:
        if not wanted:
            return []
        return along([self.values[p] for p in known], answers, [self.values[p] for p in wanted], bent)

    def _mark(self, numbers: Sequence[int]) -> None:
        """Which answers to these examples are inferred, and which guessed."""
        gaps: dict[tuple[int, int], list[int]] = {}
        for number in numbers:
            for left, right in pairwise(self._known(self.examples[number])):
                gaps.setdefault((left, right), []).append(number)
        self.inferred[numbers] = self.guessed[numbers] = False
        for (left, right), part in gaps.items():
            examples = [self.examples[number] for number in part]
            same = self.differences.between(self._asked[left], self._asked[right], examples) <= SAME
            self.inferred[part, left + 1 : right] = same[:, None]
            self.guessed[part, left + 1 : right] = ~same[:, None]


def _match(one: Answer, other: Answer) -> bool:
    """Whether both say the same in as many tokens."""
    return normalised(one.text) == normalised(other.text) and len(one.tokens) == len(other.tokens)
