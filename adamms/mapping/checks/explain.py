"""Explains a tensor that does not resemble what the plan takes for it: says what it is instead.

Compares it with every other tensor of its shape, and looks for its rows and columns in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adamms.mapping.checks.distance import TensorDistance
from adamms.mapping.checks.mapped_models import MappedModels, Values, is_stack, outputs_of
from adamms.mapping.checks.row_order import closest_order
from adamms.mapping.content.blocks import Composition, find_compositions
from adamms.mapping.content.noise import LEAST_COSINE, Noise, closer, cosine, normalised
from adamms.mapping.content.sketch import Sketch, sketch_rows
from adamms.mapping.expression import Read
from adamms.mapping.plan import ANCESTOR, Slot
from adamms.system.on_demand import torch

# Segments of a changed order that a message lists.
LISTED = 4


def explain(
    tensor: TensorDistance, slots: Mapping[str, Slot], models: MappedModels, rows: Sequence[range]
) -> str:
    """What seems to be wrong with an odd tensor; "" for a vector that nothing else resembles better.

    Args:
        tensor: what was measured.
        slots: everything that the plan merges, by name.
        models: those that the plan speaks of.
        rows: the sample that was measured.
    """
    slot, source = slots[tensor.name], tensor.source
    own = 0.0 if tensor.cosine is None else tensor.cosine
    whose = "the ancestor's" if source == ANCESTOR else f"donor {source}'s"
    taken = f"{whose} {models.tensors_read(slot, source)}"
    other, similarity = _closest(slot, source, slots, models, rows)
    if other is not None and similarity > max(2 * own, LEAST_COSINE) and closer(similarity, own):
        found = f"{whose} {models.tensors_read(other, source)} ({similarity:.2f})"
        return f"{slot.name} resembles {found}, not {models.tensors_read(slot, source)} ({own:.2f})"
    if len(slot.shape) < 2:
        return ""
    order = _order(slot, source, models)
    if order:
        of = "" if is_stack(slot) else ": of heads, or of parts of a fused tensor"
        return f"{slot.name}: {taken} holds its {order}{of}"
    if own > 2 * LEAST_COSINE:
        strange = f"{tensor.strange:.0%} of its rows do not resemble those"
        return f"{slot.name}: {strange} of {taken} (cosine {own:.2f} over all)"
    return f"{slot.name} does not resemble {taken} (cosine {own:.2f}), nor another of its shape"


def _closest(
    slot: Slot, source: str, slots: Mapping[str, Slot], models: MappedModels, rows: Sequence[range]
) -> tuple[Slot | None, float]:
    """The merged slot of the same shape whose expression the target's tensor resembles most."""
    target = _centred(models.target_rows(slot, rows), slot)
    best: tuple[Slot | None, float] = (None, -1.0)
    for other in slots.values():
        if other.name != slot.name and other.shape == slot.shape and source in models.expressions(other):
            similarity = cosine(target, _centred(models.source_rows(other, source, rows), slot))
            if similarity > best[1]:
                best = (other, similarity)
    return best


def _centred(values: Values, slot: Slot) -> Values:
    return values - values.mean() if len(slot.shape) < 2 else values


def _order(slot: Slot, source: str, models: MappedModels) -> str:
    """In which order the source holds the target's rows, columns or experts; "" if in the same or in none."""
    if is_stack(slot):
        return _order_of_experts(slot, source, models)
    whole = [range(slot.shape[0])]
    target, other = models.target_rows(slot, whole), models.source_rows(slot, source, whole)
    turned = closest_order(target, other, slot.shape[0])
    if turned is not None:
        return f"rows in another order ({turned})"
    for what, mine, theirs in (("rows", target, other), ("columns", target.T, other.T)):
        found = _composed(mine, theirs)
        if found is not None and len(found.segments) > 1:
            return f"{what} in another order ({_displaced(found)})"
    return ""


def _order_of_experts(slot: Slot, source: str, models: MappedModels) -> str:
    """By the first row of each."""
    size = outputs_of(slot)
    rows = [range(place, place + 1) for place in range(0, slot.shape[0] * size, size)]
    target, other = models.target_rows(slot, rows), models.source_rows(slot, source, rows)
    similarity = normalised(torch.from_numpy(target)) @ normalised(torch.from_numpy(other)).T
    nearest = similarity.argmax(1).tolist()
    moved = [f"{mine} <- {theirs}" for mine, theirs in enumerate(nearest) if mine != theirs]
    if not moved or sorted(nearest) != list(range(len(rows))) or similarity.amax(1).min() < LEAST_COSINE:
        return ""
    return f"experts in another order ({', '.join(moved[:LISTED])}{', ...' if len(moved) > LISTED else ''})"


def _composed(target: Values, other: Values) -> Composition | None:
    shape = (target.shape[0], target.shape[1])
    pair = [
        Sketch(name, shape, sketch_rows(torch.from_numpy(rows)), Read(name))
        for name, rows in (("target", target), ("other", other))
    ]
    comparisons = (shape[0] // 16) ** 2
    return find_compositions(pair[:1], pair[1:], Noise(comparisons)).get("target")


def _displaced(found: Composition) -> str:
    """`0:32 <- 64:96, ...`: where the first displaced rows come from."""
    moved, position = [], 0
    for segment in found.segments:
        if segment.start != position:
            moved.append(f"{position}:{position + segment.length} <- {segment.start}:{segment.stop}")
        position += segment.length
    return ", ".join(moved[:LISTED]) + (", ..." if len(moved) > LISTED else "")
