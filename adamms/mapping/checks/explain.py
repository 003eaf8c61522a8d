"""Says what a tensor is instead, when it does not resemble what the plan takes for it.

Compares it with everything else of its shape, and looks for its rows and columns in another order.
"""

from collections.abc import Sequence

import torch

from adamms.mapping.checks.distance import Check
from adamms.mapping.checks.mapped_models import Values
from adamms.mapping.content.blocks import Layout, find_layouts
from adamms.mapping.content.noise import LEAST_COSINE, Noise, closer, cosine
from adamms.mapping.content.sketch import Sketch, sketch_rows
from adamms.mapping.plan import Slot

# Segments of a changed order that a message lists.
LISTED = 4


def explain(check: Check, slots: Sequence[Slot], values: Values, rows: Sequence[range]) -> str:
    """What seems to be wrong with a flagged tensor; "" for a vector that nothing else resembles better.

    Args:
        check: what was measured.
        slots: everything that the plan merges.
        values: the models.
        rows: the sample that the check was made on.
    """
    slot = next(slot for slot in slots if slot.name == check.name)
    own = 0.0 if check.cosine is None else check.cosine
    taken = values.words(slot, check.source)
    other, similarity = _closest(slot, check.source, slots, values, rows)
    if other is not None and similarity > max(2 * own, LEAST_COSINE) and closer(similarity, own):
        found = values.words(other, check.source)
        return f"{check.name} resembles {_whose(check)} {found} ({similarity:.2f}), not {taken} ({own:.2f})"
    if len(slot.shape) < 2:
        return ""
    said = _order(slot, check, values)
    if said:
        return said
    if own > 2 * LEAST_COSINE:
        return (
            f"{check.name}: {check.strange:.0%} of its rows do not resemble those of {_whose(check)} {taken} "
            f"(cosine {own:.2f} over all)"
        )
    return (
        f"{check.name} does not resemble {_whose(check)} {taken} (cosine {own:.2f}), nor another of its shape"
    )


def _whose(check: Check) -> str:
    return "the ancestor's" if check.source == "ancestor" else f"donor {check.source}'s"


def _closest(
    slot: Slot, source: str, slots: Sequence[Slot], values: Values, rows: Sequence[range]
) -> tuple[Slot | None, float]:
    """The merged slot of the same shape whose expression the target's tensor resembles most."""
    target = _centred(values.target_rows(slot, rows), slot)
    best: tuple[Slot | None, float] = (None, -1.0)
    for other in slots:
        if other.name != slot.name and other.shape == slot.shape and source in values.sources(other):
            similarity = cosine(target, _centred(values.rows(other, source, rows), slot))
            if similarity > best[1]:
                best = (other, similarity)
    return best


def _centred(values: torch.Tensor, slot: Slot) -> torch.Tensor:
    return values - values.mean() if len(slot.shape) < 2 else values


def _order(slot: Slot, check: Check, values: Values) -> str:
    """Whether the donor's rows, or its columns, are the target's in another order; "" if not."""
    whole = [range(slot.shape[0])]
    target, other = values.target_rows(slot, whole), values.rows(slot, check.source, whole)
    for what, mine, theirs in (("rows", target, other), ("columns", target.T, other.T)):
        layout = _layout(mine, theirs)
        if layout is not None and len(layout.segments) > 1:
            return (
                f"{check.name}: {_whose(check)} {values.words(slot, check.source)} holds its {what} in "
                f"another order ({_listed(layout)}): of heads, or of parts of a fused tensor"
            )
    return ""


def _layout(target: torch.Tensor, other: torch.Tensor) -> Layout | None:
    shape = (target.shape[0], target.shape[1])
    pair = [Sketch(name, shape, sketch_rows(rows)) for name, rows in (("target", target), ("other", other))]
    comparisons = (shape[0] // 16) ** 2
    return find_layouts(pair[:1], pair[1:], Noise(comparisons)).get("target")


def _listed(layout: Layout) -> str:
    """`0:32 <- 64:96, ...`: where the first displaced ones come from."""
    moved, position = [], 0
    for segment in layout.segments:
        if segment.start != position:
            moved.append(f"{position}:{position + segment.length} <- {segment.start}:{segment.stop}")
        position += segment.length
    return ", ".join(moved[:LISTED]) + (", ..." if len(moved) > LISTED else "")
