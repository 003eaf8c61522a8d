"""The recommended choice: the candidate against which a signal holds least, and how far to trust it.

What the signals are worth was measured on controlled pairs (`tests/benchmarks/signals.py`). Knows no labels,
models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from adamms.errors import AdammsError, check_choice
from adamms.merge.candidate import Candidate
from adamms.search.bisection import Bisection
from adamms.search.candidates import shape_of
from adamms.search.choice import Choice, Selection
from adamms.search.evidence import PARENTS, Array, Ask, Signal, table
from adamms.search.racing import SAME, Finish, Places, Race, known
from adamms.search.ties import TIE_RULES, Positions, break_tie
from adamms.search.trust import trust


@dataclass(frozen=True)
class TrustedSelector:
    """Chooses the candidate with the smallest sum of a signal's differences; alpha = 0 may win.

    Args:
        signal: what speaks against a candidate.
        because: why its winner wins, for people.
        donors: whether the parents' own answers are asked for, if the signal needs them; a signal of
            agreement does without.
        bisection: how answers are inferred from others; None asks for all of them.
        race: how candidates drop out; None lets all of them answer everything.
        ties: among equal sums: the `lowest`, the `middle` or the middle of the `widest_basin` (see `ties`).
        tolerance: points of accuracy that a good choice may lose; what `Trust` speaks of.
        resamples: bootstrap resamples for the confidence.
        seed: of the bootstrap.
    """

    signal: Signal
    because: str
    donors: bool = True
    bisection: Bisection | None = None
    race: Race | None = None
    ties: str = "middle"
    tolerance: PositiveFloat = 2.0
    resamples: PositiveInt = 1000
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_choice("search.ties", self.ties, TIE_RULES)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(need for need in self.signal.needs if self.donors or need != PARENTS)

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if there is nothing to choose from."""
        if len(candidates) < 2:
            raise AdammsError(f"search.grid has {len(candidates)} candidate; expected at least 2")

    def search(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """Ask every candidate everything, or what is not spared; then choose per task and over all.

        After a race a task's choice is among those that did not drop out of it.
        """
        everything = examples_of(tasks)
        if self.bisection is not None:
            ask = self.bisection.over(ask, self.needs, candidates)
        if self.race is None:
            evidence = ask(candidates, everything)
            held = self.signal.differences(evidence, everything)
            asked = known(held, table(evidence.candidates, everything))
            finish = Finish(asked, tuple(range(len(candidates))))
        else:
            finish = self.race.run(ask, self.signal, candidates, everything)
        columns = {example: place for place, example in enumerate(everything)}
        return Selection(
            {
                task: self.choose(candidates, finish.of([columns[example] for example in examples]))
                for task, examples in tasks.items()
            },
            self.choose(candidates, finish),
        )

    def choose(self, candidates: Sequence[Candidate], finish: Finish) -> Choice:
        """The choice among the candidates, in increasing order, that are left."""
        positions = np.argwhere(np.ones(shape_of(candidates), dtype=bool))  # (candidates, axes)
        asked, left = finish.asked, np.array(finish.left)
        count, scores = asked.held.shape[1], asked.scores
        winner, tied = self._winner(scores, left, positions)
        weights = self._resamples(count)
        # Candidates are compared with the winner on the examples that both were asked.
        gaps = weights @ np.nan_to_num((asked.held - asked.held[winner]) * asked.scale).T / count
        apart = weights @ ((asked.said != asked.said[winner]) * asked.scale).T / count
        judged = np.isfinite(scores)
        gaps[:, ~judged], apart[:, ~judged] = np.inf, 0.0
        wins = np.zeros(len(candidates))
        for row in gaps:
            wins[self._winner(row, left, positions)[0]] += 1 / self.resamples
        return Choice(
            candidate=candidates[winner],
            differences={c: float(d) for c, d, ok in zip(candidates, scores, judged, strict=True) if ok},
            tied=tuple(candidates[place] for place in tied),
            confidence=float(wins[winner]),
            wins={c: float(w) for c, w, ok in zip(candidates, wins, judged, strict=True) if ok},
            examples=count,
            because=self.because,
            trust=trust(gaps, apart, winner, self.tolerance, self.seed),
        )

    def _winner(self, scores: Array, left: Places, positions: Positions) -> tuple[int, list[int]]:
        """The place of the winner among those left, and of all that are as good."""
        tied = left[scores[left] <= scores[left].min() + SAME].tolist()
        return tied[break_tie(positions[tied], self.ties)], tied

    def _resamples(self, count: int) -> Array:
        """How often every example is drawn when as many are drawn anew: shape (resamples, examples)."""
        generator = np.random.default_rng(self.seed)
        return generator.multinomial(count, np.full(count, 1 / count), size=self.resamples).astype(float)


def examples_of(tasks: Mapping[str, Sequence[str]]) -> list[str]:
    """All of them, task by task.

    Raises:
        AdammsError: no tasks, or one without examples.
    """
    empty = [task for task, examples in tasks.items() if not examples]
    if empty or not tasks:
        raise AdammsError(f"no examples to choose from{f' in task {empty[0]!r}' if empty else ''}")
    return [example for examples in tasks.values() for example in examples]
