"""Verifies a plan: reads a sample of every merged tensor and says where target and donor do not correspond.

Weights of one ancestor resemble each other tensor by tensor and row by row. A wrong order of heads, gate for
up, a wrong layer or a donor of another ancestor therefore shows in their cosines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from adamms.mapping.checks.distance import Distances, TensorDistance
from adamms.mapping.checks.explain import explain
from adamms.mapping.checks.kinship import cosines_of, strangers, upper_quartile
from adamms.mapping.checks.mapped_models import MappedModels, spread_rows
from adamms.mapping.checks.measure import FAR_BELOW, measure_distances
from adamms.mapping.plan import Plan, Slot
from adamms.system.threads import Advance, chunk_pool, default_workers

# Rows read of each matrix, evenly spread: two or more of every head of models with up to 64.
SAMPLE_ROWS = 128
# A matrix is odd also where this share of its rows is strange.
STRANGE_ROWS = 0.02
# Odd tensors that are compared with all others to say what they are; with more, something general is wrong.
EXPLAINED = 64


def verify_plan(
    plan: Plan, models: MappedModels, advance: Advance = lambda count: None, workers: int | None = None
) -> Distances:
    """The distances of every merged tensor, with the problems of those that do not correspond.

    Args:
        plan, models, advance, workers: as of `measure_distances`.
    """
    measured = measure_distances(plan, models, advance, workers, SAMPLE_ROWS)
    slots = {slot.name: slot for slot in plan.slots if slot.merged}
    tensors = list(measured.tensors)
    foreign = strangers(tensors, slots)
    usual = {source: _Usual.of(tensors, slots, source) for source in {tensor.source for tensor in tensors}}
    odd = [
        index
        for index, tensor in enumerate(tensors)
        if tensor.source not in foreign and usual[tensor.source].is_odd(tensor, slots[tensor.name])
    ]
    with chunk_pool(workers or default_workers()) as pool:
        problems = [*pool.map(lambda index: _explained(tensors[index], slots, models), odd[:EXPLAINED])]
    problems += [f"{tensors[index].name} does not resemble its donor's" for index in odd[EXPLAINED:]]
    for index, problem in zip(odd, problems, strict=True):
        tensors[index] = replace(tensors[index], problem=problem)
    return Distances(tuple(tensors), foreign)


def _explained(tensor: TensorDistance, slots: Mapping[str, Slot], models: MappedModels) -> str:
    return explain(tensor, slots, models, spread_rows(slots[tensor.name], SAMPLE_ROWS))


@dataclass(frozen=True)
class _Usual:
    """What is usual between the target and one other model.

    Args:
        matrices, vectors: the cosine that a quarter of them exceeds, so that up to three quarters may be
            mapped wrongly; -1 where there are none.
        roles: role -> median cosine.
        strange: the share of strange rows that a quarter of the matrices in layers stay below.
    """

    matrices: float
    vectors: float
    roles: Mapping[str, float]
    strange: float

    @staticmethod
    def of(tensors: Sequence[TensorDistance], slots: Mapping[str, Slot], source: str) -> "_Usual":
        roles: dict[str, list[float]] = {}
        strange = []
        for tensor in tensors:
            if tensor.source == source:
                if tensor.cosine is not None:
                    roles.setdefault(tensor.role, []).append(tensor.cosine)
                if tensor.layer is not None and len(slots[tensor.name].shape) > 1:
                    strange.append(1 - tensor.strange)
        return _Usual(
            upper_quartile(cosines_of(tensors, slots, source, vectors=False) or [-1.0]),
            upper_quartile(cosines_of(tensors, slots, source, vectors=True) or [-1.0]),
            {role: median(cosines) for role, cosines in roles.items()},
            1 - upper_quartile(strange or [1.0]),
        )

    def is_odd(self, tensor: TensorDistance, slot: Slot) -> bool:
        """Far below what is usual in its role, or for its kind: a role may be wrong in every layer.

        Strange rows count in layers only: some rows of embeddings may belong to tokens that one model
        trained anew.
        """
        if tensor.cosine is None:
            return False
        vector = len(slot.shape) == 1
        usual = max(self.roles[tensor.role], self.vectors if vector else self.matrices)
        strange = tensor.layer is not None and tensor.strange > max(STRANGE_ROWS, 4 * self.strange)
        return tensor.cosine < FAR_BELOW * usual or (strange and not vector)
