"""Whether what a candidate says comes from the donors, and not from the ancestor that all share.

Interpolating the target with the ancestor alone brings back what fine-tuning made it forget; what the merge
gives beyond that control is the donors'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamms.search.evidence import CONTROL, Array, Evidence, given, table


@dataclass(frozen=True)
class LikeControl:
    """1 where the answer is that of the control at the same alpha."""

    needs: ClassVar[tuple[str, ...]] = (CONTROL,)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "control")
        same = table(evidence.candidates, examples) == table(evidence.control, examples)
        return same.astype(np.float64)
