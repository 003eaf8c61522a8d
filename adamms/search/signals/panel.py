"""Several signals together: one sees what another misses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat

from adamms.errors import AdammsError
from adamms.search.difference import Difference
from adamms.search.evidence import DONORS, Evidence
from adamms.search.resampling import Array
from adamms.search.signals.signal import Signal


@dataclass(frozen=True)
class Panel(Signal):
    """The weighted sum of the members' differences. Where no donor was asked, without those that need one.

    Args:
        members: name -> signal, at least one.
        weights: name -> weight, of each member. One of weight 0 is not asked.
    """

    members: Mapping[str, Signal]
    weights: Mapping[str, NonNegativeFloat]

    because = (
        "its answers agree best with its neighbours', with all others' and with what the parents would say"
    )

    def __post_init__(self) -> None:
        if not self.members or set(self.members) != set(self.weights):
            raise AdammsError(
                f"search.signal.weights has {', '.join(self.weights) or 'no names'}; expected those of "
                f"search.signal.members: {', '.join(self.members) or 'at least one'}"
            )
        if not self.asked:
            raise AdammsError("search.signal.weights are all 0; expected one above 0")

    @property
    def asked(self) -> list[tuple[float, Signal]]:
        """Weight and member, of those that have a weight."""
        return [(self.weights[name], member) for name, member in self.members.items() if self.weights[name]]

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the members; without donors it says something as long as one member does."""
        needs = [need for _, member in self.asked for need in member.needs]
        if not all(DONORS in member.needs for _, member in self.asked):
            needs = [need for need in needs if need != DONORS]
        return tuple(dict.fromkeys(needs))

    @property
    def neighbours(self) -> tuple[int, ...]:
        return tuple(sorted({step for _, member in self.asked for step in member.neighbours}))

    @property
    def alone(self) -> bool:
        return all(member.alone for _, member in self.asked)

    @property
    def looks_at(self) -> tuple[int, ...] | None:
        found = [member.looks_at for _, member in self.asked]
        steps = {step for own in found for step in own or ()}
        return None if None in found else tuple(sorted(steps))

    @property
    def across(self) -> bool:
        return any(member.across for _, member in self.asked)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        able = [one for one in self.asked if evidence.donors or DONORS not in one[1].needs] or self.asked
        found = [weight * member.differences(evidence, examples, difference) for weight, member in able]
        return np.sum(found, axis=0, dtype=np.float64)
