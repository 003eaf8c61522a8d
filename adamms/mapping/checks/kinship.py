"""Whether models have a common ancestor, from a few rows of a few matrices that a plan merges.

Models of one ancestor still resemble each other tensor by tensor; unrelated ones do not at all. Judges what
`measure` found; what a wrong mapping looks like is in `verify`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import median

from adamms.mapping.checks.distance import Distances, TensorDistance, distances_of_discovery, role_and_layer
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.measure import measure_distances
from adamms.mapping.content.noise import LEAST_COSINE
from adamms.mapping.plan import ANCESTOR, Difference, Plan, Slot

# Matrices of each model that are sampled, drawn from all of the plan's by a fixed seed.
SAMPLED = 12
# Beyond this share of the target's norm a model is farther than those known to merge well: published
# fine-tunes of one language model have cosines of 0.9 and more (`noise`), which is a distance of 0.45; the
# pairs of tests/benchmarks/suite.py lie at 0.22 (the demo's) to 0.34 (fine-tuned for long, at a high rate).
FAR = 0.5
WEIGHTS = "weights"


def sample_distances(plan: Plan, models: MappedModels) -> Distances | None:
    """How far the models of a plan are apart, in a sample of its matrices; of a discovered plan in all.

    Returns:
        None where the weights are not there: a plan can be made from headers alone.
    """
    if plan.findings:
        return distances_of_discovery(plan)
    slots = _sample(plan)
    checkpoints = [models.target, *models.donors.values(), *([models.ancestor] if models.ancestor else [])]
    files = {entry.file for checkpoint in checkpoints for entry in checkpoint.tensors.values()}
    if not all(file.is_file() for file in files):
        return None
    return measure_distances(replace(plan, slots=slots), models)


def _sample(plan: Plan) -> tuple[Slot, ...]:
    """For every model some of the matrices that it has a part in, in layers where there are such."""
    chosen: dict[str, Slot] = {}
    merged = [slot for slot in plan.slots if slot.merged and len(slot.shape) > 1]
    for source in (*plan.donors, ANCESTOR):
        own = [slot for slot in merged if source in slot.donors or (source == ANCESTOR and slot.ancestor)]
        own = [slot for slot in own if role_and_layer(slot)[1] is not None] or own
        chosen |= {slot.name: slot for slot in Random(0).sample(own, min(SAMPLED, len(own)))}
    return tuple(slot for slot in merged if slot.name in chosen)


def strangers(tensors: Sequence[TensorDistance], slots: Mapping[str, Slot]) -> dict[str, str]:
    """Models of which no part resembles the target, of another ancestor: name -> why."""
    found = {}
    for source in dict.fromkeys(tensor.source for tensor in tensors):
        cosines = cosines_of(tensors, slots, source, vectors=False)
        if cosines and upper_quartile(cosines) < LEAST_COSINE:
            who = "the ancestor" if source == ANCESTOR else f"donor {source}"
            found[source] = (
                f"{who} has another ancestor than the target: the median cosine of {len(cosines)} matrices "
                f"is {median(cosines):.2f}, the highest {max(cosines):.2f}"
            )
    return found


def judged(measured: Distances, slots: Mapping[str, Slot]) -> list[Difference]:
    """What the distances say of each model as a whole, for people; of strangers `strangers` says more."""
    found = []
    for source, far in _distances(measured, slots).items():
        cosines = cosines_of(measured.tensors, slots, source, vectors=False)
        text = f"distance {median(far):.3g}"
        text += f", cosine {median(cosines):.3f}" if cosines else ""
        text += f"; models that merge well: below {FAR}" if median(far) > FAR else ""
        moved = [t.donor_moved for t in measured.tensors if t.source == source]
        for other, apart in (("target", far), ("ancestor", [n for n in moved if n is not None])):
            if apart and not max(apart):
                text = f"equal to the {other}'s in {len(far)} matrices"
        found.append(Difference(source, WEIGHTS, "", text))
    return found


def too_far(measured: Distances, slots: Mapping[str, Slot]) -> dict[str, float]:
    """Models that are farther from the target than those known to merge well: name -> median distance."""
    return {name: median(far) for name, far in _distances(measured, slots).items() if median(far) > FAR}


def _distances(measured: Distances, slots: Mapping[str, Slot]) -> dict[str, list[float]]:
    """Of every model the distances of its matrices."""
    found: dict[str, list[float]] = {}
    for tensor in measured.tensors:
        if tensor.distance is not None and len(slots[tensor.name].shape) > 1:
            found.setdefault(tensor.source, []).append(tensor.distance)
    return found


def cosines_of(
    tensors: Sequence[TensorDistance], slots: Mapping[str, Slot], source: str, vectors: bool
) -> list[float]:
    """Of all matrices, or of all vectors, with one other model."""
    return [
        tensor.cosine
        for tensor in tensors
        if tensor.source == source
        and tensor.cosine is not None
        and (len(slots[tensor.name].shape) == 1) == vectors
    ]


def upper_quartile(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 3 // 4]
