"""How far the models merged into the target are from it, tensor by tensor, and what seems wrong.

Plain data for people, plots and JSON. Holds no weights and does not know how it was measured.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from adamms.mapping.plan import Plan, Slot

DIGITS = 5  # of the numbers here


@dataclass(frozen=True)
class TensorDistance:
    """One merged target tensor against one other model.

    >>> TensorDistance("model.layers.3.mlp.up_proj.weight", "donor", "mlp.up.weight", 3, 0.92, 0.4).problem
    ''

    Args:
        name: of the target tensor.
        source: donor name, or "ancestor".
        role: its role without the layer, e.g. "attn.q.weight"; the name's pattern where the role is unknown.
        layer: index of the layer; None outside the layers.
        cosine: of the target's values with those of the other model's expression; of a vector, around
            its mean. None where a side is constant.
        distance: the norm of their difference over the target's norm.
        strange: the share of the sampled rows that do not resemble as the others do; 0 for vectors.
        target_moved: the norm of target - ancestor over the ancestor's; None without one.
        donor_moved: the same of the donor.
        problem: what seems to be wrong; "" if nothing.
    """

    name: str
    source: str
    role: str
    layer: int | None
    cosine: float | None
    distance: float | None
    strange: float = 0.0
    target_moved: float | None = None
    donor_moved: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class RoleDistance:
    """All tensors of one role against one model: how many, medians, and how many have a problem."""

    source: str
    role: str
    tensors: int
    cosine: float | None
    least: float | None
    distance: float | None
    target_moved: float | None
    donor_moved: float | None
    problems: int


@dataclass(frozen=True)
class Distances:
    """How far the merged tensors of a plan are from the target's.

    Args:
        tensors: in the plan's order, donors first for each tensor.
        strangers: donor name (or "ancestor") -> why the whole model seems to have another ancestor.
    """

    tensors: tuple[TensorDistance, ...]
    strangers: Mapping[str, str] = field(default_factory=dict)

    @property
    def donors(self) -> tuple[str, ...]:
        """The models that were compared, without the ancestor."""
        return tuple(dict.fromkeys(t.source for t in self.tensors if t.source != "ancestor"))

    @property
    def problems(self) -> list[str]:
        """Everything that seems to be wrong, whole models first."""
        return [*self.strangers.values(), *(tensor.problem for tensor in self.tensors if tensor.problem)]

    def roles(self) -> list[RoleDistance]:
        """Per model and role, in the order in which they first appear."""
        groups: dict[tuple[str, str], list[TensorDistance]] = {}
        for tensor in self.tensors:
            groups.setdefault((tensor.source, tensor.role), []).append(tensor)
        return [_role(*key, tensors) for key, tensors in sorted(groups.items(), key=lambda item: item[0][0])]

    def to_json(self) -> dict[str, Any]:
        return {
            "problems": self.problems,
            "strangers": dict(self.strangers),
            "roles": [vars(role) for role in self.roles()],
            "tensors": [dict(vars(tensor)) for tensor in self.tensors],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Distances":
        """The distances that `to_json` wrote."""
        return cls(tuple(TensorDistance(**tensor) for tensor in record["tensors"]), record["strangers"])


def _role(source: str, role: str, tensors: Sequence[TensorDistance]) -> RoleDistance:
    def middle(key: str) -> float | None:
        known = [value for tensor in tensors if (value := getattr(tensor, key)) is not None]
        return round(median(known), DIGITS) if known else None

    cosines = [tensor.cosine for tensor in tensors if tensor.cosine is not None]
    problems = sum(bool(tensor.problem) for tensor in tensors)
    medians = {key: middle(key) for key in ("cosine", "distance", "target_moved", "donor_moved")}
    least = min(cosines, default=None)
    return RoleDistance(source, role, len(tensors), least=least, problems=problems, **medians)


def role_and_layer(slot: Slot) -> tuple[str, int | None]:
    """The role of a slot without layer and expert, and the layer; from its name where it has none."""
    if not slot.roles:
        number = re.compile(r"(?<![^.])\d+(?![^.])")
        first = number.search(slot.name)
        return number.sub("{i}", slot.name), int(first[0]) if first else None
    return re.sub(r"layers\.\d+\.|(?<=moe\.expert\.)\d+\.", "", slot.role), slot.roles[0].layer


def distances_of_discovery(plan: Plan) -> Distances:
    """What a plan that was found by content says of its own matches; no tensors for any other plan."""
    return Distances(
        tuple(
            TensorDistance(slot.name, source, *role_and_layer(slot), finding.cosine, finding.distance)
            for slot in plan.slots
            if slot.merged
            for source, finding in plan.findings.get(slot.name, {}).items()
            if finding.found
        )
    )
