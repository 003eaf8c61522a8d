"""Several signals together: one sees what another misses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat

from adamms.errors import AdammsError
from adamms.resampling import Array
from adamms.search.difference import Difference
from adamms.search.evidence import Evidence
from adamms.search.signals.signal import Signal


@dataclass(frozen=True)
class Panel(Signal):
    """The weighted sum of the members' differences.

    Args:
        members: name -> signal, at least one.
        weights: name -> weight, of each member.
    """

    members: Mapping[str, Signal]
    weights: Mapping[str, NonNegativeFloat]

    def __post_init__(self) -> None:
        if not self.members or set(self.members) != set(self.weights):
            raise AdammsError(
                f"search.signal.weights has {', '.join(self.weights) or 'no names'}; expected those of "
                f"search.signal.members: {', '.join(self.members) or 'at least one'}"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(need for member in self.members.values() for need in member.needs))

    @property
    def neighbours(self) -> tuple[int, ...]:
        return tuple(sorted({step for member in self.members.values() for step in member.neighbours}))

    @property
    def alone(self) -> bool:
        return all(member.alone for member in self.members.values())

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        found = [member.differences(evidence, examples, difference) for member in self.members.values()]
        weights = [self.weights[name] for name in self.members]
        return np.tensordot(weights, found, axes=1).astype(np.float64)
