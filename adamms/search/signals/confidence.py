"""How unsure a candidate is of its own answers, by its log-probabilities.

AdaMerging (arXiv:2310.02575) minimises the entropy of predictions without labels. A model that is sure of
wrong answers deceives these signals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.search.difference import Difference
from adamms.search.evidence import TOKENS, Array, Evidence
from adamms.search.signals.probabilities import entropy, log_probabilities
from adamms.search.signals.signal import Signal


@dataclass(frozen=True)
class Surprisal(Signal):
    """Minus the log-probability (nats) of the whole answer."""

    needs = (TOKENS,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        return -np.stack([log_probabilities(evidence.candidates[c], examples) for c in evidence.order])


@dataclass(frozen=True)
class Improbability(Signal):
    """One minus the probability of the whole answer, so that no single answer outweighs the others."""

    needs = (TOKENS,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        return 1 - np.exp(-Surprisal().differences(evidence, examples, difference))


@dataclass(frozen=True)
class Entropy(Signal):
    """The entropy (nats) of the likeliest tokens at each position, summed over the answer."""

    needs = (TOKENS,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        return np.array([[entropy(evidence.candidates[c][e]) for e in examples] for c in evidence.order])
