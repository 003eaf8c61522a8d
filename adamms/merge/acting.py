"""Where a method can act: tensors and rows without the operands that it needs stay the target's.

Reads plans only; knows nothing of weights.
"""

from collections.abc import Iterator
from dataclasses import replace

from adamms.mapping.expression import Tokens
from adamms.mapping.plan import Plan, Slot
from adamms.merge.method import Method


def actionable(plan: Plan, method: Method) -> Plan:
    """The plan in which the tensors that the method cannot merge are kept, with the reason.

    A task vector is a difference from the ancestor's tensor: where the plan has none, any other formula
    (the ancestor's values taken as zero, an interpolation) would be another method under this one's name.
    """
    if not method.needs_ancestor:
        return plan
    reason = f"the ancestor has no such tensor, which merge={method.name} needs"
    slots = tuple(
        Slot(slot.name, slot.shape, slot.dtype, slot.role, reason=reason)
        if slot.merged and slot.ancestor is None
        else slot
        for slot in plan.slots
    )
    return replace(plan, slots=slots)


def idle_rows(slot: Slot, method: Method, rows: range) -> list[int]:
    """Positions in `rows` of tokens that no donor has, or that the ancestor lacks where it is needed.

    Whatever the method, these rows stay the target's.
    """
    idle: set[int] = set()
    if method.needs_ancestor and isinstance(slot.ancestor, Tokens):
        idle = {i for i, row in enumerate(slot.ancestor.rows[rows.start : rows.stop]) if row < 0}
    aligned = [e.rows[rows.start : rows.stop] for e in slot.donors.values() if isinstance(e, Tokens)]
    if len(aligned) == len(slot.donors):
        idle |= {i for i, found in enumerate(zip(*aligned, strict=True)) if max(found) < 0}
    return sorted(idle)


def acting_runs(slot: Slot, method: Method, rows: range) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of the longest stretches of `rows`, as positions, that are not idle."""
    first = 0
    for idle in (*idle_rows(slot, method, rows), len(rows)):
        if idle > first:
            yield first, idle
        first = idle + 1
