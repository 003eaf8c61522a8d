"""Whether a candidate answers the same when the input changes in a way that should not matter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamms.search.evidence import Array, Evidence, given, table


@dataclass(frozen=True)
class Stability:
    """1 where the answer to the disturbed example is the same."""

    needs: ClassVar[tuple[str, ...]] = ("disturbed",)

    def contributions(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "disturbed")
        same = table(evidence.candidates, examples) == table(evidence.disturbed, examples)
        return same.astype(np.float64)
