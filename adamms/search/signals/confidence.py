"""How unsure a candidate is of its own answers, by its log-probabilities.

Low entropy of predictions without labels is what AdaMerging minimises (arXiv:2310.02575); a model that is
surely wrong fools it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamms.engines.answer import Answer
from adamms.search.evidence import TOKENS, Array, Evidence, log_probabilities, log_probability


@dataclass(frozen=True)
class Surprisal:
    """Minus the log-probability (nats) of the whole answer."""

    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        return -np.stack([log_probabilities(evidence.candidates[c], examples) for c in evidence.order])


@dataclass(frozen=True)
class Doubt:
    """One minus the probability of the whole answer: one sure answer more counts as much as any other."""

    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        return 1 - np.exp(-Surprisal().differences(evidence, examples))


@dataclass(frozen=True)
class Entropy:
    """The entropy (nats) of the likeliest tokens at each place, summed over the answer."""

    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        return np.array(
            [[_entropy(evidence.candidates[c][example]) for example in examples] for c in evidence.order]
        )


def _entropy(answer: Answer) -> float:
    log_probability(answer)  # raises if there are none
    values = [np.array([value for _, value in token.likeliest]) for token in answer.tokens]
    return float(sum(-(np.exp(value) * value).sum() for value in values))
