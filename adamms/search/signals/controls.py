"""Whether answers stay when they should, and change when they should.

An answer should stay when the input changes in a way that does not matter. And it should come from the
donors: interpolating the target with the ancestor also brings back what fine-tuning made the target forget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.search.difference import Difference
from adamms.search.evidence import CONTROL, DISTURBED, Evidence, table
from adamms.search.resampling import Array
from adamms.search.signals.signal import Signal, check_given


@dataclass(frozen=True)
class Instability(Signal):
    """The difference between the answers to an example and to its disturbed version."""

    because = "its answers change least when the images change harmlessly"
    needs = (DISTURBED,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "disturbed")
        pairs = zip(table(evidence.candidates, examples), table(evidence.disturbed, examples), strict=True)
        return np.stack([difference(own, other) for own, other in pairs])


@dataclass(frozen=True)
class LikeControl(Signal):
    """One minus the difference between the answers of a candidate and of the control at the same alpha."""

    because = "most of its answers come from the donors, not from the common ancestor"
    needs = (CONTROL,)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "control")
        pairs = zip(table(evidence.candidates, examples), table(evidence.control, examples), strict=True)
        return np.stack([1 - difference(own, other) for own, other in pairs])
