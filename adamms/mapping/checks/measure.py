"""Measures how far the models behind a plan lie from each other, from a sample of every merged tensor's rows.

Shows the asymmetry of the paper (AdaMMS, section 3). Judges nothing: `verify` does.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from adamms.mapping.checks.distance import DIGITS, Distances, TensorDistance, role_and_layer
from adamms.mapping.checks.mapped_models import MappedModels, Values, spread_rows
from adamms.mapping.content.noise import LEAST_COSINE, cosine, distance, norm
from adamms.mapping.plan import ANCESTOR, Plan, Slot
from adamms.system.threads import Advance, chunk_pool, default_workers

# Rows read of each matrix, evenly spread; verify_plan reads more.
DISTANCE_ROWS = 16
# A row is strange whose cosine is below this share of the median row's.
FAR_BELOW = 0.5


def measure_distances(
    plan: Plan,
    models: MappedModels,
    advance: Advance = lambda count: None,
    workers: int | None = None,
    rows: int = DISTANCE_ROWS,
) -> Distances:
    """Every merged tensor against every donor that has a part in it, and against the ancestor.

    Args:
        plan: which expression stands for each target tensor.
        models: those that the plan speaks of.
        advance: told of every tensor that is done; called from several threads.
        workers: threads; the processors at hand by default.
        rows: how many are read of each matrix, about.
    """
    slots = [slot for slot in plan.slots if slot.merged and slot.shape]
    pooled = ThreadPoolExecutor if models.lie_in_files(slots) else chunk_pool
    with pooled(workers or default_workers()) as pool:
        found = pool.map(partial(_measured, models, rows, advance), slots)
        return Distances(tuple(tensor for tensors in found for tensor in tensors))


@np.errstate(over="ignore", invalid="ignore")  # values whose squares are too large have no distance
def _measured(models: MappedModels, count: int, advance: Advance, slot: Slot) -> list[TensorDistance]:
    rows, vector = spread_rows(slot, count), len(slot.shape) == 1
    found = []
    if rows:
        target = models.target_rows(slot, rows)
        others = {source: models.source_rows(slot, source, rows) for source in models.expressions(slot)}
        base = others.get(ANCESTOR)
        for source, other in others.items():
            role, layer = role_and_layer(slot)
            similarity = _cosine(target, other, vector)
            found.append(
                TensorDistance(
                    slot.name,
                    source,
                    role,
                    layer,
                    cosine=_rounded(similarity),
                    distance=_rounded_distance(target, other),
                    strange=0.0 if vector else round(_strange_rows(target, other), DIGITS),
                    target_moved=_rounded_distance(base, target),
                    donor_moved=None if source == ANCESTOR else _rounded_distance(base, other),
                )
            )
    advance(1)
    return found


def _rounded_distance(base: Values | None, other: Values) -> float | None:
    return None if base is None else _rounded(distance(base, other))


def _rounded(value: float | None) -> float | None:
    """None where the squares of the values are too large for float32."""
    return round(value, DIGITS) if value is not None and math.isfinite(value) else None


def _cosine(target: Values, other: Values, vector: bool) -> float | None:
    """Of a vector around its mean; None where one side is constant, which says nothing."""
    if vector:
        target, other = target - target.mean(), other - other.mean()
    if not norm(target) or not norm(other):
        return 1.0 if np.array_equal(target, other) else None
    return cosine(target, other)


def _strange_rows(target: Values, other: Values) -> float:
    """The share of rows whose cosine is far below the median row's."""
    scale = np.linalg.norm(target, axis=1) * np.linalg.norm(other, axis=1)
    found = (target * other).sum(1) / np.maximum(scale, 1e-30)
    usual = max(np.sort(found)[(len(found) - 1) // 2], LEAST_COSINE)
    return float((found < usual * FAR_BELOW).mean())
