"""A signal that looks at candidates instead of answers: the optimum of a search with real models is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamms.search.evidence import Array, Evidence


@dataclass(frozen=True)
class Wishful:
    """How far a number of the candidate is from what is wished for, the same for every example.

    Args:
        key: of the configuration.
        wish: its best value.
        otherwise: what candidates have that do not set it.
    """

    key: str
    wish: float
    otherwise: float = 1.0

    needs: ClassVar[tuple[str, ...]] = ()
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        values = [candidate.settings.get(self.key, self.otherwise) for candidate in evidence.order]
        return np.abs(np.array(values) - self.wish)[:, None] * np.ones(len(examples))
