"""Which tensors and rows of a plan are merged: those that have all operands the method needs.

The others stay the target's. Knows plans, but no models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

from adamms.errors import AdammsError
from adamms.mapping.expression import Expression, Tokens
from adamms.mapping.plan import Plan, Slot
from adamms.merge.method import ANCESTOR, Method
from adamms.system.on_demand import torch


def actionable(plan: Plan, method: Method) -> Plan:
    """The plan that keeps what the method cannot merge, with the reason: tensors, and rows of tokens.

    A task vector is a difference from the ancestor's tensor. Without that tensor, any formula (an
    interpolation, say) would be another method under this one's name.
    """
    if not method.needs_ancestor:
        return plan
    return replace(plan, slots=tuple(_actionable(slot, method) for slot in plan.slots))


def check_actionable(plan: Plan, method: Method) -> None:
    """Raise AdammsError if a merged slot lacks what the method needs of the ancestor."""
    for slot in plan.slots if method.needs_ancestor else ():
        if slot.merged and slot.ancestor is None:
            raise AdammsError(
                f"merge={method.name} needs the ancestor's counterpart of {slot.name}, which the plan lacks; "
                f"`actionable` makes a plan that keeps such tensors"
            )


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
    """The donor's rows, without those of tokens that the ancestor does not have."""
    aligned = expression if isinstance(expression, Tokens) else Tokens(expression, tuple(range(len(known))))
    rows = (row if ancestral >= 0 else -1 for row, ancestral in zip(aligned.rows, known, strict=True))
    return Tokens(aligned.source, tuple(rows))


def idle_rows(slot: Slot, rows: range) -> list[int]:
    """Positions in `rows` of tokens that no donor has: with every method, they stay the target's."""
    aligned = [e.rows[rows.start : rows.stop] for e in slot.donors.values() if isinstance(e, Tokens)]
    if len(aligned) < len(slot.donors):
        return []
    return [position for position, found in enumerate(zip(*aligned, strict=True)) if max(found) < 0]


def with_idle_rows(merged: torch.Tensor, own: torch.Tensor, slot: Slot, rows: range) -> torch.Tensor:
    """The merged values of `rows`, with the target's own in the idle ones; in place."""
    if idle := idle_rows(slot, rows):
        merged[idle] = own[idle]
    return merged


def acts(slot: Slot) -> bool:
    """Whether at least one row is merged."""
    return any(acting_runs(slot, range(slot.shape[0] if slot.shape else 1)))


def acting_runs(slot: Slot, rows: range) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of each run of merged rows, as positions in `rows`."""
    first = 0
    for idle in (*idle_rows(slot, rows), len(rows)):
        if idle > first:
            yield first, idle
        first = idle + 1


def row_digests(slot: Slot) -> dict[str, str]:
    """The alignments by tokens, which plan.json leaves out: donor or ANCESTOR -> a digest of its rows."""
    return {
        name: hashlib.blake2b(json.dumps(expression.rows).encode(), digest_size=8).hexdigest()
        for name, expression in {**slot.donors, ANCESTOR: slot.ancestor}.items()
        if isinstance(expression, Tokens)
    }
