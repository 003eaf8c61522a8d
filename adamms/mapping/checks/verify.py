"""Reads a sample of every merged tensor and compares target and donor: does the mapping hold?

Weights of one ancestor resemble each other tensor by tensor and row by row, so a wrong order of heads,
gate for up, a wrong layer or a donor of another ancestor shows (DESIGN section 4). Also measures how far the
models lie from each other and from the ancestor: the asymmetry of the paper (AdaMMS, section 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch

from adamms.checkpoint.threads import chunk_pool, default_workers
from adamms.mapping.checks.distance import Check, Verification, place
from adamms.mapping.checks.explain import explain
from adamms.mapping.checks.mapped_models import ANCESTOR, Values, spread_rows
from adamms.mapping.content.noise import LEAST_COSINE, cosine, distance
from adamms.mapping.content.sketch import Advance
from adamms.mapping.plan import Plan, Slot

# Rows read of each matrix, evenly spread: two or more of every head of models with up to 64.
SAMPLE_ROWS = 128
# The same where only distances are wanted, of every run that loads the models anyway.
DISTANCE_ROWS = 16
# A tensor is odd below this share of the usual cosine; a matrix also where so many rows are strange.
FAR_BELOW, STRANGE_ROWS = 0.5, 0.02
# Odd tensors that are compared with all others to say what they are; with more, something general is wrong.
EXPLAINED = 64


def verify_plan(
    plan: Plan, values: Values, advance: Advance = lambda count: None, workers: int | None = None
) -> Verification:
    """Compare every merged tensor with every donor that has a part in it, and with the ancestor.

    Args:
        plan: which expression stands for each target tensor.
        values: the models that it speaks of.
        advance: told of every tensor that is done; called from several threads.
        workers: threads; the processors at hand by default.
    """
    slots = {slot.name: slot for slot in plan.slots if slot.merged and slot.shape}

    with chunk_pool(workers or default_workers()) as pool:
        work = partial(_checks, values, SAMPLE_ROWS, advance)
        checks = [check for found in pool.map(work, slots.values()) for check in found]
        strangers = _strangers(checks, slots)
        usual = {source: _Usual.of(checks, slots, source) for source in {check.source for check in checks}}
        odd = [
            index
            for index, check in enumerate(checks)
            if check.source not in strangers and usual[check.source].is_odd(check, _vector(slots[check.name]))
        ]
        few = [checks[index] for index in odd[:EXPLAINED]]
        explained = pool.map(partial(_explained, list(slots.values()), values), few)
        for index, check in zip(odd, explained, strict=False):
            checks[index] = check
    for index in odd[EXPLAINED:]:
        checks[index] = replace(checks[index], problem=f"{checks[index].name} does not resemble its donor's")
    return Verification(tuple(checks), strangers)


def measure_distances(
    plan: Plan, values: Values, advance: Advance = lambda count: None, workers: int | None = None
) -> Verification:
    """The same numbers from fewer rows, for people to look at: nothing is called wrong.

    Args:
        plan, values, advance, workers: as of `verify_plan`.
    """
    slots = [slot for slot in plan.slots if slot.merged and slot.shape]
    with chunk_pool(workers or default_workers()) as pool:
        found = pool.map(partial(_checks, values, DISTANCE_ROWS, advance), slots)
        return Verification(tuple(check for checks in found for check in checks))


def _checks(values: Values, count: int, advance: Advance, slot: Slot) -> list[Check]:
    """About `count` rows of the slot against each of its sources."""
    rows = spread_rows(slot, count)
    if not rows:
        advance(1)
        return []
    target = values.target_rows(slot, rows)
    others = {source: values.rows(slot, source, rows) for source in values.sources(slot)}
    base = others.get(ANCESTOR)
    advance(1)
    return [
        Check(
            *(slot.name, source, *place(slot)),
            cosine=_cosine(target, other, _vector(slot)),
            distance=distance(target, other),
            strange=0.0 if _vector(slot) else _strange_rows(target, other),
            target_moved=None if base is None else distance(base, target),
            donor_moved=None if base is None or source == ANCESTOR else distance(base, other),
        )
        for source, other in others.items()
    ]


def _explained(slots: Sequence[Slot], values: Values, check: Check) -> Check:
    slot = next(slot for slot in slots if slot.name == check.name)
    return replace(check, problem=explain(check, slots, values, spread_rows(slot, SAMPLE_ROWS)))


def _vector(slot: Slot) -> bool:
    return len(slot.shape) < 2


def _cosine(target: torch.Tensor, other: torch.Tensor, vector: bool) -> float | None:
    """Of a vector around its mean; None where one side is constant, which says nothing."""
    if vector:
        target, other = target - target.mean(), other - other.mean()
    if not float(target.norm()) or not float(other.norm()):
        return 1.0 if torch.equal(target, other) else None
    return cosine(target, other)


def _strange_rows(target: torch.Tensor, other: torch.Tensor) -> float:
    """The share of rows whose cosine is less than half of the median row's."""
    scale = (target.norm(dim=1) * other.norm(dim=1)).clamp(min=1e-30)
    found = (target * other).sum(1) / scale
    return float((found < found.median().clamp(min=LEAST_COSINE) * FAR_BELOW).float().mean())


def _strangers(checks: Sequence[Check], slots: Mapping[str, Slot]) -> dict[str, str]:
    """Models that resemble the target nowhere: of another ancestor."""
    found = {}
    for source in dict.fromkeys(check.source for check in checks):
        cosines = [
            check.cosine
            for check in checks
            if check.source == source and check.cosine is not None and not _vector(slots[check.name])
        ]
        if cosines and _upper_quartile(cosines) < LEAST_COSINE:
            who = "the ancestor" if source == ANCESTOR else f"donor {source}"
            found[source] = (
                f"{who} has another ancestor than the target: the median cosine of {len(cosines)} matrices "
                f"is {median(cosines):.2f}, the highest {max(cosines):.2f}"
            )
    return found


def _upper_quartile(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 3 // 4]


@dataclass(frozen=True)
class _Usual:
    """What is usual between the target and one other model.

    Args:
        matrices, vectors: the cosine that a quarter of them exceeds, so that up to three quarters may be
            mapped wrongly; None where there are none.
        roles: role -> median cosine.
        strange: the share of strange rows that a quarter of the matrices in layers stay below.
    """

    matrices: float | None
    vectors: float | None
    roles: Mapping[str, float]
    strange: float

    @staticmethod
    def of(checks: Sequence[Check], slots: Mapping[str, Slot], source: str) -> "_Usual":
        mine = [check for check in checks if check.source == source]
        cosines: dict[str, list[float]] = {}
        kinds: dict[bool, list[float]] = {False: [], True: []}
        for check in mine:
            if check.cosine is not None:
                cosines.setdefault(check.role, []).append(check.cosine)
                kinds[_vector(slots[check.name])].append(check.cosine)
        strange = [
            check.strange for check in mine if check.layer is not None and not _vector(slots[check.name])
        ]
        return _Usual(
            _upper_quartile(kinds[False]) if kinds[False] else None,
            _upper_quartile(kinds[True]) if kinds[True] else None,
            {role: median(found) for role, found in cosines.items()},
            1 - _upper_quartile([1 - share for share in strange]) if strange else 0.0,
        )

    def is_odd(self, check: Check, vector: bool) -> bool:
        """Far below what is usual in its role, or for its kind: a role may be wrong in every layer.

        Rows are looked at in layers only: of embeddings some may belong to tokens that one model
        has trained anew.
        """
        if check.cosine is None:
            return False
        general = self.vectors if vector else self.matrices
        usual = max(self.roles.get(check.role, -1.0), -1.0 if general is None else general)
        far = check.cosine < FAR_BELOW * usual
        strange = check.layer is not None and check.strange > max(STRANGE_ROWS, 4 * self.strange)
        return far or (strange and not vector)
