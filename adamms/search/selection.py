"""Which candidate wins: per task and overall, with its ties and with how sure the choice is.

Made from answers alone. Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from adamms.engines.responses import Candidate, Responses
from adamms.errors import AdammsError, check_choice
from adamms.search.consistency import ENDPOINTS, RULES, Array, contributions, eligible, smooth
from adamms.search.difference import Difference

TIE_RULES = ("lowest", "middle", "widest_basin")


@dataclass(frozen=True)
class Choice:
    """The winner over one set of examples.

    Args:
        alpha: the winner.
        differences: candidate -> D, after smoothing; candidates that cannot win are left out.
        tied: the candidates with the winner's D, in order.
        confidence: share of bootstrap resamples of the examples in which the winner wins.
        wins: candidate -> share of resamples that it wins.
        examples: how many answers per candidate it was made from.
    """

    alpha: Candidate
    differences: Mapping[Candidate, float]
    tied: tuple[Candidate, ...]
    confidence: float
    wins: Mapping[Candidate, float]
    examples: int

    def to_json(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha.alpha,
            "differences": {str(candidate): value for candidate, value in self.differences.items()},
            "confidence": self.confidence,
            "tied": [candidate.alpha for candidate in self.tied],
            "wins": {str(candidate): share for candidate, share in self.wins.items()},
            "examples": self.examples,
        }


@dataclass(frozen=True)
class Selection:
    """One choice per task and one over all examples."""

    tasks: Mapping[str, Choice]
    overall: Choice

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": {task: choice.to_json() for task, choice in self.tasks.items()},
            "overall": self.overall.to_json(),
        }


@dataclass(frozen=True)
class ConsistencySelector:
    """Chooses the candidate whose answers change least between neighbours.

    Args:
        difference: how much two answers differ.
        rule: `sum`, `either` or `previous` (see `consistency`).
        endpoints: `interior`, as in the paper, or `one_sided`: alpha = 0 may win too.
        smoothing: neighbours on either side to average D over; 0 for none.
        ties: among equal D: the `lowest` alpha, the `middle` one of those tied, or the middle of the
            `widest_basin`, the longest run of neighbours among them.
        resamples: bootstrap resamples for the confidence.
        seed: of the bootstrap.
    """

    difference: Difference
    rule: str = "sum"
    endpoints: str = "interior"
    smoothing: int = 0
    ties: str = "middle"
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("search.rule", self.rule, RULES)
        check_choice("search.endpoints", self.endpoints, ENDPOINTS)
        check_choice("search.ties", self.ties, TIE_RULES)
        if self.smoothing < 0 or self.resamples < 1:
            raise AdammsError("search.smoothing must be at least 0, search.resamples at least 1")

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if no candidate of this grid has the neighbours that the rule needs."""
        count = len(candidates)
        least = 2 if eligible(2, self.rule, self.endpoints).any() else 3
        if count < least:
            raise AdammsError(
                f"search.grid has {count} candidates; search.rule={self.rule} with "
                f"search.endpoints={self.endpoints} needs at least {least}"
            )

    def select(self, responses: Responses, tasks: Mapping[str, Sequence[str]]) -> Selection:
        """Choose per task and over all.

        Args:
            responses: answers of the whole grid to every example named in `tasks`.
            tasks: task -> ids of its examples.

        Raises:
            AdammsError: a grid on which no candidate has the neighbours that the rule needs, or a task
                without examples.
        """
        candidates = responses.candidates
        self.check(candidates)
        empty = [task for task, examples in tasks.items() if not examples]
        if empty or not tasks:
            raise AdammsError(f"no examples to choose from{f' in task {empty[0]!r}' if empty else ''}")
        everything = [example for examples in tasks.values() for example in examples]
        return Selection(
            {task: self._choose(responses, candidates, examples) for task, examples in tasks.items()},
            self._choose(responses, candidates, everything),
        )

    def _choose(self, responses: Responses, candidates: list[Candidate], examples: Sequence[str]) -> Choice:
        answers = [responses.of(candidate, examples) for candidate in candidates]
        changes = np.stack([self.difference(a, b) for a, b in pairwise(answers)])
        added = contributions(changes, self.rule)  # (candidates, examples)
        allowed = eligible(len(candidates), self.rule, self.endpoints)
        scores = smooth(added.sum(1), allowed, self.smoothing)
        tied = self._tied(scores, allowed)
        winner = self._break_tie(tied)
        shares = self._bootstrap(added, allowed)
        return Choice(
            alpha=candidates[winner],
            differences={
                c: float(score) for c, score, ok in zip(candidates, scores, allowed, strict=True) if ok
            },
            tied=tuple(candidates[index] for index in tied),
            confidence=float(shares[winner]),
            wins={c: float(share) for c, share, ok in zip(candidates, shares, allowed, strict=True) if ok},
            examples=len(examples),
        )

    def _tied(self, scores: Array, allowed: np.ndarray) -> list[int]:
        """Indices of the candidates with the smallest score, up to rounding of fractional differences."""
        masked = np.where(allowed, scores, np.inf)
        return [int(i) for i in np.flatnonzero(masked <= masked.min() + 1e-9)]

    def _break_tie(self, tied: list[int]) -> int:
        if self.ties == "lowest":
            return tied[0]
        if self.ties == "middle":
            return tied[(len(tied) - 1) // 2]
        runs: list[list[int]] = []
        for index in tied:
            if runs and runs[-1][-1] == index - 1:
                runs[-1].append(index)
            else:
                runs.append([index])
        widest = max(runs, key=len)  # the first of the longest
        return widest[(len(widest) - 1) // 2]

    def _bootstrap(self, added: Array, allowed: np.ndarray) -> Array:
        """Share of resamples that each candidate wins; shape (candidates,)."""
        generator = np.random.default_rng(self.seed)
        count = added.shape[1]
        weights = generator.multinomial(count, np.full(count, 1 / count), size=self.resamples)
        scores = smooth(weights @ added.T, allowed, self.smoothing)  # (resamples, candidates)
        wins = np.zeros(len(allowed))
        for row in scores:
            wins[self._break_tie(self._tied(row, allowed))] += 1
        return wins / self.resamples
