"""Whether a candidate answers otherwise when the input changes in a way that should not matter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamms.search.evidence import DISTURBED, Array, Evidence, given, table


@dataclass(frozen=True)
class Instability:
    """1 where the answer to the disturbed example is another."""

    needs: ClassVar[tuple[str, ...]] = (DISTURBED,)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "disturbed")
        other = table(evidence.candidates, examples) != table(evidence.disturbed, examples)
        return other.astype(np.float64)
