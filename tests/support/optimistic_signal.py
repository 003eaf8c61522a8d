"""A signal that looks at candidates instead of answers: the optimum of a search with real models is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.search.difference import Difference
from adamms.search.evidence import Evidence
from adamms.search.resampling import Array
from adamms.search.signals.signal import Signal


@dataclass(frozen=True)
class Wishful(Signal):
    """How far a number of the candidate is from what is wished for, the same for every example.

    Args:
        key: of the configuration.
        wish: its best value.
        otherwise: what candidates have that do not set it.
    """

    key: str
    wish: float
    otherwise: float = 1.0

    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        values = [candidate.settings.get(self.key, self.otherwise) for candidate in evidence.order]
        return np.abs(np.array(values) - self.wish)[:, None] * np.ones(len(examples))
