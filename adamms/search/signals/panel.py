"""Several signals together: what one of them is blind to, another sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.errors import AdammsError
from adamms.search.evidence import Array, Evidence, Signal


@dataclass(frozen=True)
class Panel:
    """The weighted sum of the members' differences.

    Args:
        members: at least one.
        weights: of each member.
    """

    members: tuple[Signal, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.members or len(self.members) != len(self.weights) or min(self.weights) < 0:
            raise AdammsError(
                f"search.signal has {len(self.members)} members and the weights {list(self.weights)}; "
                f"expected as many weights, none negative"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(need for member in self.members for need in member.needs))

    @property
    def reach(self) -> int | None:
        reaches = [member.reach for member in self.members]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if len(known) == len(reaches) else None

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        found = [member.differences(evidence, examples) for member in self.members]
        return np.tensordot(self.weights, found, axes=1).astype(np.float64)
