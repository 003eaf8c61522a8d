"""What a schedule is: other shares than those configured, by depth or by the weights, for any method.

A schedule is a frozen dataclass of its settings. It scales coefficients and merges nothing. Knows neither
files nor candidates.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from adamms.mapping.plan import Slot
from adamms.merge.method import Method, Statistics, Survey
from adamms.merge.rules import Shares, layers_of

BySlot = Mapping[str, Shares]


class Schedule(ABC):
    """Turns the donors' shares of a tensor, as alpha and the rules say, into those that it is merged with.

    >>> from adamms.merge.schedules.lines import Lines
    >>> slot = Slot("q", (2, 2), "F32", "layers.1.attn.q.weight")
    >>> Lines(first=0.0, last=1.0).shares(slot, 3, {"a": 0.8}, None)
    {'a': 0.4}

    Attributes:
        name: as in the configuration.
        formula: one line for people.
    """

    name: ClassVar[str]
    formula: ClassVar[str]

    def survey(self) -> Survey | None:
        """The pass over the model that it needs; None if it needs none."""
        return None

    def method(self, slot: Slot, layers: int, method: Method) -> Method:
        """What the slot is merged by: the method configured, or the same with other numbers."""
        return method

    @abstractmethod
    def shares(self, slot: Slot, layers: int, shares: Shares, found: Statistics | None) -> dict[str, float]:
        """Donor name -> its share of the slot. At alpha 0 all stay 0.

        Args:
            slot: the tensor's.
            layers: of the decoder.
            shares: donor name -> its share as alpha and the rules say.
            found: what the survey found.

        Raises:
            AdammsError: the slot or the survey lacks what the schedule goes by.
        """


def scheduled(
    schedule: Schedule, slots: Sequence[Slot], shares: Shares, exceptions: BySlot, found: Statistics | None
) -> tuple[Shares, BySlot]:
    """The shares by a schedule, and those of the slots that have others.

    Args:
        slots: of the plan.
        shares: donor name -> its share where no rule applies.
        exceptions: slot name -> donor name -> share, where one applies.
        found: what the schedule's survey found.
    """
    layers = layers_of(slots)
    made = {
        slot.name: schedule.shares(slot, layers, exceptions.get(slot.name, shares), found)
        for slot in slots
        if slot.merged
    }
    first = next(iter(made.values()), shares)
    return (first, {}) if all(other == first for other in made.values()) else (shares, made)


def methods_by_slot(schedule: Schedule, slots: Sequence[Slot], method: Method) -> dict[str, Method]:
    """Slot name -> its method, for the merged slots for which a schedule has another than `method`."""
    layers = layers_of(slots)
    made = {slot.name: schedule.method(slot, layers, method) for slot in slots if slot.merged}
    return {name: own for name, own in made.items() if own != method}
