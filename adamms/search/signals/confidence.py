"""How unsure a candidate is of its own answers, by its log-probabilities.

AdaMerging (arXiv:2310.02575) minimises the entropy of predictions without labels. A model that is sure of
wrong answers deceives these signals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.search.difference import Difference
from adamms.search.evidence import TOKENS, Evidence
from adamms.search.resampling import Array
from adamms.search.signals.probabilities import Tokens, entropy, log_probabilities, sureness
from adamms.search.signals.signal import Signal


@dataclass(frozen=True)
class Surprisal(Signal):
    """Minus the log-probability (nats) of the answer.

    Args:
        tokens: their `sum`, that of the whole answer, which speaks against long ones; or their `mean`.
    """

    tokens: Tokens

    because = "its answers have the highest log-probability"
    needs = (TOKENS,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        rows = [evidence.candidates[candidate] for candidate in evidence.order]
        return -np.stack([sureness(row, examples, self.tokens) for row in rows])


@dataclass(frozen=True)
class Improbability(Signal):
    """One minus the probability of the whole answer, so that no single answer outweighs the others."""

    because = "its answers have the highest probability"
    needs = (TOKENS,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        rows = [evidence.candidates[candidate] for candidate in evidence.order]
        return 1 - np.exp(np.stack([log_probabilities(row, examples) for row in rows]))


@dataclass(frozen=True)
class Entropy(Signal):
    """The entropy (nats) of the likeliest tokens at each position of the answer.

    In AdaMerging it is of one prediction for each input, a class. The tokens of an answer are predictions,
    too, so for answers of more than a word their mean is nearer to it.

    Args:
        tokens: the `sum` over the positions, which speaks against long answers, or their `mean`.
    """

    tokens: Tokens

    because = "the tokens of its answers have the lowest entropy"
    needs = (TOKENS,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        rows = [[evidence.candidates[candidate][e] for e in examples] for candidate in evidence.order]
        sums = np.array([[entropy(answer) for answer in row] for row in rows])
        return (
            sums / [[len(answer.tokens) for answer in row] for row in rows] if self.tokens == "mean" else sums
        )
