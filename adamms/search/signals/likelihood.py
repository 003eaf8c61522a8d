"""How probable a candidate finds answers that others gave, whether or not it says the same.

So it needs no two equal texts, and goes with answers of any length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.engines.answer import Answer
from adamms.merge.candidate import Candidate
from adamms.resampling import Array
from adamms.search.difference import Difference
from adamms.search.evidence import (
    DONORS,
    PARENTS,
    SCORES,
    SCORES_OF_ALL,
    Evidence,
    Pool,
    said,
)
from adamms.search.signals.signal import Signal, check_given

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


@dataclass(frozen=True)
class Likelihood(Pooled):
    """Minus the mean log-likelihood (nats per token) of the pool's answers under a candidate.

    Every answer that was given counts once, so a text that several gave counts as often. The end of an answer
    is one of its tokens.

    Args:
        pool: whose texts; see `Pooled`.
    """

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "scored")

        def against(candidate: Candidate, example: str) -> float:
            scored = evidence.scored[candidate][example]
            answers = said(evidence, self.pool, example)
            return -float(np.mean([mean_log_probability(scored[a.text]) for a in answers] or [0.0]))

        return np.array([[against(c, e) for e in examples] for c in evidence.order])


def mean_log_probability(scored: Answer) -> float:
    """Per token of a text, its end included (nats)."""
    return float(np.mean([token.logprob for token in scored.tokens]))
