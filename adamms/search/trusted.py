"""The recommended choice: the candidate against which a signal holds least, and how far to trust it.

What the signals are worth was measured on controlled pairs (`tests/benchmarks/signals.py`). Knows no labels,
models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adamms.bounds import Count, Natural, Positive
from adamms.engines.responses import Candidate
from adamms.errors import AdammsError, check_choice
from adamms.search.candidates import shape_of
from adamms.search.choice import Choice, Selection, Trust
from adamms.search.evidence import Array, Ask, Signal
from adamms.search.ties import TIE_RULES, Positions, break_tie

# Sums of fractions that are the same but for rounding.
SAME = 1e-9


@dataclass(frozen=True)
class TrustedSelector:
    """Chooses the candidate with the smallest sum of a signal's differences; alpha = 0 may win.

    Args:
        signal: what speaks against a candidate.
        because: why its winner wins, for people.
        ties: among equal sums: the `lowest`, the `middle` or the middle of the `widest_basin` (see `ties`).
        tolerance: points of accuracy that a good choice may lose; what `Trust` speaks of.
        resamples: bootstrap resamples for the confidence.
        seed: of the bootstrap.
    """

    signal: Signal
    because: str
    ties: str = "middle"
    tolerance: Positive = 2.0
    resamples: Count = 1000
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_choice("search.ties", self.ties, TIE_RULES)

    @property
    def needs(self) -> tuple[str, ...]:
        return self.signal.needs

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if there is nothing to choose from."""
        if len(candidates) < 2:
            raise AdammsError(f"search.grid has {len(candidates)} candidate; expected at least 2")

    def search(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """Ask every candidate everything, then choose per task and over all."""
        everything = examples_of(tasks)
        evidence = ask(candidates, everything)
        held = self.signal.differences(evidence, everything)  # (candidates, examples)
        columns = {example: place for place, example in enumerate(everything)}
        return Selection(
            {
                task: self.choose(evidence.order, held[:, [columns[example] for example in examples]])
                for task, examples in tasks.items()
            },
            self.choose(evidence.order, held),
        )

    def choose(self, candidates: Sequence[Candidate], held: Array) -> Choice:
        """The choice of these candidates, in increasing order, from what is held against them.

        Args:
            held: shape (candidates, examples).
        """
        positions = np.argwhere(np.ones(shape_of(candidates), dtype=bool))  # (candidates, axes)
        scores = held.sum(1)
        winner, tied = self._winner(scores, positions)
        resampled = self._resampled(held)  # (resamples, candidates)
        wins = np.zeros(len(candidates))
        for row in resampled:
            wins[self._winner(row, positions)[0]] += 1 / self.resamples
        allowed = resampled.min(1) + self.tolerance / 100 * held.shape[1] + SAME
        return Choice(
            candidate=candidates[winner],
            differences=dict(zip(candidates, scores.tolist(), strict=True)),
            tied=tuple(candidates[place] for place in tied),
            confidence=float(wins[winner]),
            wins=dict(zip(candidates, wins.tolist(), strict=True)),
            examples=held.shape[1],
            because=self.because,
            trust=Trust(float((resampled[:, winner] <= allowed).mean()), self.tolerance),
        )

    def _winner(self, scores: Array, positions: Positions) -> tuple[int, list[int]]:
        """The place of the winner, and of all that are as good."""
        tied = np.flatnonzero(scores <= scores.min() + SAME).tolist()
        return tied[break_tie(positions[tied], self.ties)], tied

    def _resampled(self, held: Array) -> npt.NDArray[np.float64]:
        """The sums over examples drawn anew, again and again: shape (resamples, candidates)."""
        count = held.shape[1]
        generator = np.random.default_rng(self.seed)
        weights = generator.multinomial(count, np.full(count, 1 / count), size=self.resamples)
        return weights @ held.T


def examples_of(tasks: Mapping[str, Sequence[str]]) -> list[str]:
    """All of them, task by task.

    Raises:
        AdammsError: no tasks, or one without examples.
    """
    empty = [task for task, examples in tasks.items() if not examples]
    if empty or not tasks:
        raise AdammsError(f"no examples to choose from{f' in task {empty[0]!r}' if empty else ''}")
    return [example for examples in tasks.values() for example in examples]
