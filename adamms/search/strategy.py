"""The search: the candidate wins against which a signal says least, per task and over all.

The paper's search, the recommended one and others are settings of one class (conf/search). The signals were
measured on controlled pairs (tests/benchmarks/signals.py). Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.bisection import Bisection
from adamms.search.candidates import shape_of
from adamms.search.choice import Choice, Selection
from adamms.search.contest import Contest, Endpoints, Ties, eligible
from adamms.search.difference import Difference
from adamms.search.doubts import doubts, notes, selection
from adamms.search.evidence import PARENTS, SCORES, Ask, Evidence
from adamms.search.resampling import INTERVAL, Array, resampled_sums
from adamms.search.signals.signal import Signal
from adamms.search.task_differences import TaskDifferences
from adamms.search.trust import trust


@dataclass(frozen=True)
class Strategy:
    """Chooses the candidate with the smallest D, the sum of a signal's differences over the examples.

    Args:
        signal: what speaks against a candidate.
        difference: between two answers; every task has the one that suits its answers.
        endpoints: which candidates at an end of the grid may win; see `Contest`.
        smoothing: neighbours on either side to average D over, along every axis; 0 for none.
        ties: among equal D: the `lowest` candidate, the `middle` one, or the middle of the `widest_basin`.
        donors: whether the parents' own answers are asked for, if the signal uses them.
        bisection: how answers are inferred from others; None to ask for all of them.
        tolerance: points of accuracy that a good choice may lose; for the probability that this one is good.
            None for no such probability.
        slope: points of accuracy that a point of D predicts, for that probability; see `trust`.
        chance: points of accuracy that it makes of a task whose answers all differ; see `trust`.
        resamples: bootstrap resamples for that probability and for the confidence.
        seed: of everything that is drawn at random.
    """

    signal: Signal
    difference: Difference
    endpoints: Endpoints
    smoothing: NonNegativeInt
    ties: Ties
    donors: bool
    bisection: Bisection | None
    tolerance: PositiveFloat | None
    slope: NonNegativeFloat
    chance: NonNegativeFloat
    resamples: PositiveInt
    seed: NonNegativeInt

    @property
    def needs(self) -> tuple[str, ...]:
        """What has to be asked for beside the candidates' answers; see `evidence`."""
        return tuple(need for need in self.signal.needs if self.donors or need not in (PARENTS, SCORES))

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if no candidate of this grid may win, before any answer is made."""
        count, shape = len(candidates), shape_of(candidates)
        if sum(values > 1 for values in shape) > 1:
            return
        least = 2 if eligible(2, self.signal.neighbours, self.endpoints).any() else 3
        if count < least:
            raise AdammsError(
                f"search.grid has {count} candidates; this signal with search.endpoints={self.endpoints} "
                f"needs at least {least}"
            )

    def choose(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """Ask what is needed, then choose per task and over all.

        Args:
            candidates: a grid, in increasing order.
            tasks: task -> ids of its examples.

        Raises:
            AdammsError: candidates that are no grid or of which none may win; no tasks, or one without
                examples.
        """
        return self._on_grid(ask, candidates, tasks)[0]

    def _on_grid(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> tuple[Selection, TaskDifferences]:
        """What `choose` says of a grid, and what its answers were compared with."""
        self.check(candidates)
        examples = examples_of(tasks)
        suited = partial(TaskDifferences.suited, self.difference, tasks=tasks)
        if self.bisection is None:
            evidence = ask(self._order(candidates), examples)
        else:
            contest = self._contest(candidates)
            ask = self.bisection.over(ask, self.needs, candidates, self.signal, contest, suited, self.seed)
            evidence = ask(candidates, examples)
        differences = suited(evidence)
        held = differences.held(self.signal, evidence, examples)
        columns = {example: place for place, example in enumerate(examples)}

        def choice(part: Sequence[str]) -> Choice:
            return self._choice(evidence, differences, part, held[:, [columns[example] for example in part]])

        return selection({task: choice(part) for task, part in tasks.items()}, choice(examples)), differences

    def _order(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """As they are asked: where the difference is fitted to the answers of both ends, these first."""
        ends = [candidates[0], candidates[-1]] if self.difference.graded else []
        return list(dict.fromkeys([*ends, *candidates]))

    def _contest(self, candidates: Sequence[Candidate]) -> Contest:
        neighbours = self.signal.neighbours
        return Contest(shape_of(candidates), neighbours, self.endpoints, self.smoothing, self.ties)

    def _choice(
        self, evidence: Evidence, differences: TaskDifferences, examples: Sequence[str], held: Array
    ) -> Choice:
        """The choice over some examples.

        Args:
            held: what each example says against each candidate; shape (candidates, examples).
        """
        candidates = evidence.order
        contest = self._contest(candidates)
        scores, resampled = contest.smoothed(held.sum(1)), contest.smoothed(self._resampled(held))
        tied, wins = contest.tied(scores), contest.wins(resampled)
        winner = contest.winner(tied)
        able = np.flatnonzero(contest.allowed)
        ends = np.percentile(resampled, INTERVAL, axis=0)  # (2, candidates)
        choice = Choice(
            candidate=candidates[winner],
            differences={candidates[place]: float(scores[place]) for place in able},
            tied=tuple(candidates[place] for place in np.flatnonzero(tied)),
            confidence=float(wins[winner]),
            wins={candidates[place]: float(wins[place]) for place in able},
            examples=held.shape[1],
            because=self.signal.because,
            counts_changes=self.signal.counts_changes,
            compared=differences.names(examples),
            intervals={candidates[place]: (float(ends[0, place]), float(ends[1, place])) for place in able},
            inferred=_share(evidence.inferred, evidence, examples),
            guessed=_share(evidence.guessed, evidence, examples),
        )
        return self._judged(choice, evidence, differences, examples, resampled, contest.beside(winner))

    def _judged(
        self,
        choice: Choice,
        evidence: Evidence,
        differences: TaskDifferences,
        examples: Sequence[str],
        resampled: Array,
        near: Sequence[int],
    ) -> Choice:
        """The choice with how probably it is good, and with all that makes it doubtful.

        Args:
            resampled: D in every resample of these examples; shape (resamples, candidates).
            near: places of the winner's neighbours.
        """
        winner, won = evidence.order.index(choice.candidate), evidence.candidates[choice.candidate]
        others = [evidence.candidates[candidate] for candidate in evidence.order]
        apart = np.stack([differences.between(other, won, examples) for other in others])
        judged = replace(choice, doubts=notes(choice))
        if self.tolerance is not None:
            gaps = (resampled - resampled[:, [winner]]) / len(examples)
            tasks, scale = [differences.tasks[example] for example in examples], (self.slope, self.chance)
            judged = replace(
                judged, trust=trust(gaps, apart, tasks, winner, self.tolerance, *scale, self.seed)
            )
        likest = min(near, key=lambda place: float(apart[place].mean()))
        unrelated = differences.unrelated(won, others[likest], examples)
        own = [won[example] for example in examples]
        return judged.doubted(*doubts(choice, own, apart, likest, unrelated, differences.graded(examples)))

    def _resampled(self, held: Array) -> Array:
        """The sums over as many examples, drawn anew in every resample: shape (resamples, candidates).

        All examples are drawn from one bag, whatever their task: D over all tasks is their sum.
        """
        return resampled_sums(held, held.shape[1], self.resamples, self.seed)


def _share(some: Mapping[Candidate, Set[str]], evidence: Evidence, examples: Sequence[str]) -> float:
    """Of the answers of all candidates to these examples, those that are among some."""
    count = sum(len(found.intersection(examples)) for found in map(set, some.values()))
    return count / (len(evidence.candidates) * len(examples))


def examples_of(tasks: Mapping[str, Sequence[str]]) -> list[str]:
    """The examples of all tasks, task by task.

    Raises:
        AdammsError: no tasks, or one without examples.
    """
    empty = [task for task, examples in tasks.items() if not examples]
    if empty or not tasks:
        raise AdammsError(f"no examples to choose from{f' in task {empty[0]!r}' if empty else ''}")
    return [example for examples in tasks.values() for example in examples]
