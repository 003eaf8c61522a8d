"""How probable a candidate finds answers that others gave, whether or not it says the same.

So it needs no two equal texts, and goes with answers of any length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.engines.answer import Answer
from adamms.search.difference import Difference
from adamms.search.evidence import (
    DONORS,
    PARENTS,
    SCORES,
    SCORES_OF_ALL,
    Evidence,
    Pool,
    said,
    sayers,
    says_something,
)
from adamms.search.resampling import Array
from adamms.search.signals.signal import Signal, check_given
from adamms.search.signals.votes import Voted

NEEDS: dict[Pool, tuple[str, ...]] = {
    "parents": (PARENTS, DONORS, SCORES),
    "all": (PARENTS, SCORES_OF_ALL),
}


@dataclass(frozen=True)
class Pooled(Signal):
    """Base of signals that look at how probable candidates find the pool's texts.

    Args:
        pool: `parents`: the target's and the donors' answers; `all`: those of all candidates and the donors.
            An answer that was cut before it said anything is in neither.
    """

    pool: Pool

    @property
    def needs(self) -> tuple[str, ...]:
        return NEEDS[self.pool]

    @property
    def alone(self) -> bool:
        return self.pool == "parents"

    @property
    def looks_at(self) -> tuple[int, ...] | None:
        return self.neighbours if self.pool == "parents" else None


@dataclass(frozen=True)
class Likelihood(Pooled):
    """Minus the logarithm of the mean probability (nats) that a candidate gives to the pool's answers.

    The probability of an answer is the geometric mean of its tokens', its end included. It is enough to find
    one of the answers likely: a merged model should say what one of its parents would say, whichever. Every
    answer that was given counts once, so a text that several gave counts as often. An example to which fewer
    than two of them said anything holds nothing against anybody.

    Args:
        pool: whose texts; see `Pooled`.
    """

    because = "it gives the answers of the target and the donors the highest probability"

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "scored")
        found = np.zeros((len(evidence.candidates), len(examples)))
        for place, example in enumerate(examples):
            answers = said(evidence, self.pool, example)
            if len(answers) > 1:
                found[:, place] = surprise(evidence, example, answers, np.zeros(len(answers)))
        return found


@dataclass(frozen=True)
class VotedLikelihood(Voted):
    """As `Likelihood` of the parents' answers, which count as much as their votes.

    So an answer of a parent that is sure of it, and agrees with others on that task, should be likely.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        return (*super().needs, DONORS, SCORES)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "scored")
        check_given(evidence, "donors")
        parents, first = sayers(evidence, "parents"), len(evidence.candidates)
        logs = self.votes(evidence, examples, difference)[1]
        logs = np.concatenate([logs[-1:], logs[first : first + len(evidence.donors)]])  # as the parents
        found = np.zeros((first, len(examples)))
        for place, example in enumerate(examples):
            asked = {n: parent[example] for n, parent in enumerate(parents) if example in parent}
            given = {n: answer for n, answer in asked.items() if says_something(answer)}
            if len(given) > 1:
                found[:, place] = surprise(evidence, example, list(given.values()), logs[list(given), place])
        return found


def surprise(evidence: Evidence, example: str, answers: Sequence[Answer], logs: Array) -> Array:
    """Minus the logarithm of the mean probability that each candidate gives to these answers: (candidates,).

    Args:
        logs: of what each answer counts.
    """
    scored = [evidence.scored[candidate][example] for candidate in evidence.order]
    found = np.array([[mean_log_probability(given[answer.text]) for answer in answers] for given in scored])
    return np.asarray(np.logaddexp.reduce(logs) - np.logaddexp.reduce(found + logs, axis=1))


def mean_log_probability(scored: Answer) -> float:
    """Per token of a text, its end included (nats)."""
    return scored.logprob / len(scored.tokens)
