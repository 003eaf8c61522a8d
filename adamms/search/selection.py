"""The paper's choice: the candidate whose answers change least, with its ties and how sure it is.

Made from answers alone. Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from adamms.engines.responses import Responses
from adamms.errors import AdammsError, check_choice
from adamms.merge.candidate import Candidate
from adamms.search.candidates import shape_of
from adamms.search.choice import Choice, Selection
from adamms.search.consistency import (
    ENDPOINTS,
    RULES,
    Array,
    Mask,
    eligible,
    grid_contributions,
    grid_eligible,
    grid_smooth,
)
from adamms.search.difference import Difference
from adamms.search.evidence import Ask
from adamms.search.ties import TIE_RULES, Positions, break_tie


@dataclass(frozen=True)
class ConsistencySelector:
    """Chooses the candidate whose answers change least between neighbours.

    Args:
        difference: how much two answers differ.
        rule: `sum`, `either` or `previous` (see `consistency`).
        endpoints: `interior`, as in the paper, or `one_sided`: the first, alpha = 0, may win too.
        smoothing: neighbours on either side to average D over, along every axis; 0 for none.
        ties: among equal D: the `lowest` candidate, the `middle` one of those tied, or the middle of the
            `widest_basin`, the most neighbours among them (see `ties`).
        resamples: bootstrap resamples for the confidence.
        seed: of the bootstrap.
    """

    difference: Difference
    rule: str = "sum"
    endpoints: str = "interior"
    smoothing: NonNegativeInt = 0
    ties: str = "middle"
    resamples: PositiveInt = 1000
    seed: NonNegativeInt = 0

    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_choice("search.rule", self.rule, RULES)
        check_choice("search.endpoints", self.endpoints, ENDPOINTS)
        check_choice("search.ties", self.ties, TIE_RULES)
        if self.smoothing < 0 or self.resamples < 1:
            raise AdammsError("search.smoothing must be at least 0, search.resamples at least 1")

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if no candidate of this grid has the neighbours that the rule needs."""
        count, shape = len(candidates), shape_of(candidates)
        if sum(values > 1 for values in shape) > 1:
            return
        least = 2 if eligible(2, self.rule, self.endpoints).any() else 3
        if count < least:
            raise AdammsError(
                f"search.grid has {count} candidates; search.rule={self.rule} with "
                f"search.endpoints={self.endpoints} needs at least {least}"
            )

    def search(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """Ask every candidate everything, as the paper does, and `select`."""
        everything = [example for examples in tasks.values() for example in examples]
        return self.select(Responses.of_engine(ask(candidates, everything).candidates), tasks)

    def select(self, responses: Responses, tasks: Mapping[str, Sequence[str]]) -> Selection:
        """Choose per task and over all.

        Args:
            responses: answers of the whole grid to every example named in `tasks`.
            tasks: task -> ids of its examples.

        Raises:
            AdammsError: candidates that are no grid, a grid on which no candidate has the neighbours that
                the rule needs, or a task without examples.
        """
        candidates = responses.candidates
        self.check(candidates)
        shape = shape_of(candidates)
        empty = [task for task, examples in tasks.items() if not examples]
        if empty or not tasks:
            raise AdammsError(f"no examples to choose from{f' in task {empty[0]!r}' if empty else ''}")
        everything = [example for examples in tasks.values() for example in examples]
        return Selection(
            {task: self._choose(responses, candidates, shape, examples) for task, examples in tasks.items()},
            self._choose(responses, candidates, shape, everything),
        )

    def _choose(
        self,
        responses: Responses,
        candidates: list[Candidate],
        shape: tuple[int, ...],
        examples: Sequence[str],
    ) -> Choice:
        answers = [responses.of(candidate, examples) for candidate in candidates]
        added = grid_contributions(self._changes(answers, shape), self.rule)  # (*shape, examples)
        along = grid_eligible(shape, self.rule, self.endpoints)
        allowed = reduce(np.logical_and.outer, along).ravel()  # (candidates,)
        positions = np.argwhere(np.ones(shape, dtype=bool))  # (candidates, axes)
        scores = grid_smooth(added.sum(-1), along, self.smoothing).ravel()
        tied = _tied(scores, allowed)
        winner = tied[break_tie(positions[tied], self.ties)]
        shares = self._bootstrap(added, along, allowed, positions)
        return Choice(
            candidate=candidates[winner],
            differences={
                c: float(score) for c, score, ok in zip(candidates, scores, allowed, strict=True) if ok
            },
            tied=tuple(candidates[index] for index in tied),
            confidence=float(shares[winner]),
            wins={c: float(share) for c, share, ok in zip(candidates, shares, allowed, strict=True) if ok},
            examples=len(examples),
        )

    def _changes(self, answers: Sequence[Sequence[str]], shape: tuple[int, ...]) -> list[Array]:
        """For each axis the differences between neighbours along it; shape (..., n_k - 1, ..., examples)."""
        places = np.arange(len(answers)).reshape(shape)
        changes = []
        for axis, count in enumerate(shape):
            left = places.take(range(count - 1), axis)
            right = places.take(range(1, count), axis)
            pairs = zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
            found = [self.difference(answers[a], answers[b]) for a, b in pairs]
            changes.append(np.reshape(found, (*left.shape, len(answers[0]))))
        return changes

    def _bootstrap(self, added: Array, along: Sequence[Mask], allowed: Mask, positions: Positions) -> Array:
        """Share of resamples that each candidate wins; shape (candidates,)."""
        generator = np.random.default_rng(self.seed)
        *shape, count = added.shape
        weights = generator.multinomial(count, np.full(count, 1 / count), size=self.resamples)
        scores = weights @ added.reshape(-1, count).T  # (resamples, candidates)
        scores = grid_smooth(scores.reshape(-1, *shape), along, self.smoothing).reshape(scores.shape)
        wins = np.zeros(len(allowed))
        for row in scores:
            tied = _tied(row, allowed)
            wins[tied[break_tie(positions[tied], self.ties)]] += 1
        return wins / self.resamples


def _tied(scores: Array, allowed: Mask) -> list[int]:
    """Indices of the candidates with the smallest score, up to rounding of fractional differences."""
    masked = np.where(allowed, scores, np.inf)
    return [int(i) for i in np.flatnonzero(masked <= masked.min() + 1e-9)]
