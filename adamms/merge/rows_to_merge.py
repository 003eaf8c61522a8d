"""Where a method can act: tensors and rows without the operands that it needs stay the target's.

Reads and writes plans only; knows nothing of weights.
"""

from collections.abc import Iterator
from dataclasses import replace

from adamms.mapping.expression import Expression, Tokens
from adamms.mapping.plan import Plan, Slot
from adamms.merge.method import Method


def actionable(plan: Plan, method: Method) -> Plan:
    """The plan in which what the method cannot merge is kept and counted: tensors, and rows of tokens.

    A task vector is a difference from the ancestor's tensor: where the plan has none, any other formula
    (the ancestor's values taken as zero, an interpolation) would be another method under this one's name.
    """
    if not method.needs_ancestor:
        return plan
    return replace(plan, slots=tuple(_actionable(slot, method) for slot in plan.slots))


def _actionable(slot: Slot, method: Method) -> Slot:
    if not slot.merged:
        return slot
    if slot.ancestor is None:
        reason = f"the ancestor has no such tensor, which merge={method.name} needs"
        return Slot(slot.name, slot.shape, slot.dtype, slot.role, reason=reason)
    if isinstance(slot.ancestor, Tokens) and min(slot.ancestor.rows) < 0:
        known = slot.ancestor.rows
        return replace(slot, donors={name: _only(e, known) for name, e in slot.donors.items()})
    return slot


def _only(expression: Expression, known: tuple[int, ...]) -> Tokens:
    """The donor's rows without those of tokens that the ancestor does not know."""
    aligned = expression if isinstance(expression, Tokens) else Tokens(expression, tuple(range(len(known))))
    rows = (row if ancestral >= 0 else -1 for row, ancestral in zip(aligned.rows, known, strict=True))
    return Tokens(aligned.source, tuple(rows))


def idle_rows(slot: Slot, rows: range) -> list[int]:
    """Positions in `rows` of tokens that no donor has; whatever the method, they stay the target's."""
    aligned = [e.rows[rows.start : rows.stop] for e in slot.donors.values() if isinstance(e, Tokens)]
    if len(aligned) < len(slot.donors):
        return []
    return [position for position, found in enumerate(zip(*aligned, strict=True)) if max(found) < 0]


def acts(slot: Slot) -> bool:
    """Whether there is a row that is not idle."""
    return any(acting_runs(slot, range(slot.shape[0] if slot.shape else 1)))


def acting_runs(slot: Slot, rows: range) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of the longest stretches of `rows`, as positions, that are not idle."""
    first = 0
    for idle in (*idle_rows(slot, rows), len(rows)):
        if idle > first:
            yield first, idle
        first = idle + 1
