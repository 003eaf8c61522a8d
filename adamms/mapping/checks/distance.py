"""What a comparison of target and donors found, tensor by tensor: plain data, for people and plots.

Holds no weights and knows nothing of how it was measured.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from adamms.architectures.roles import parse_role
from adamms.errors import AdammsError
from adamms.mapping.plan import Plan, Slot


@dataclass(frozen=True)
class Check:
    """One merged target tensor against one other model.

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

    def to_json(self) -> dict[str, Any]:
        numbers = ("cosine", "distance", "strange", "target_moved", "donor_moved")
        return {
            key: round(value, 5) if key in numbers and value is not None else value
            for key, value in vars(self).items()
        }


@dataclass(frozen=True)
class RoleSummary:
    """The checks of one role against one model: how many, medians, and how many have a problem."""

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
class Verification:
    """All checks of a plan.

    Args:
        checks: in the plan's order, donors first for each tensor.
        strangers: donor name (or "ancestor") -> why the whole model seems to have another ancestor.
    """

    checks: tuple[Check, ...]
    strangers: Mapping[str, str] = field(default_factory=dict)

    @property
    def donors(self) -> tuple[str, ...]:
        """The models that were compared, without the ancestor."""
        return tuple(dict.fromkeys(c.source for c in self.checks if c.source != "ancestor"))

    @property
    def problems(self) -> list[str]:
        """Everything that seems to be wrong, whole models first."""
        return [*self.strangers.values(), *(check.problem for check in self.checks if check.problem)]

    def roles(self) -> list[RoleSummary]:
        """Per model and role, in the order in which they first appear."""
        groups: dict[tuple[str, str], list[Check]] = {}
        for check in self.checks:
            groups.setdefault((check.source, check.role), []).append(check)
        return [_summary(*key, checks) for key, checks in sorted(groups.items(), key=lambda item: item[0][0])]

    def to_json(self) -> dict[str, Any]:
        return {
            "problems": self.problems,
            "roles": [vars(role) for role in self.roles()],
            "tensors": [check.to_json() for check in self.checks],
        }


def _summary(source: str, role: str, checks: Sequence[Check]) -> RoleSummary:
    def middle(key: str) -> float | None:
        known = [value for check in checks if (value := getattr(check, key)) is not None]
        return round(median(known), 5) if known else None

    cosines = [check.cosine for check in checks if check.cosine is not None]
    return RoleSummary(
        *(source, role, len(checks), middle("cosine"), round(min(cosines), 5) if cosines else None),
        *(middle("distance"), middle("target_moved"), middle("donor_moved")),
        problems=sum(bool(check.problem) for check in checks),
    )


def place(slot: Slot) -> tuple[str, int | None]:
    """The role of a slot without its layer, and the layer; from its name where the role is not canonical."""
    try:
        roles = [parse_role(part) for part in slot.role.split(" + ")]
    except AdammsError:
        numbers = re.findall(r"(?<![^.])\d+(?![^.])", slot.name)
        return re.sub(r"(?<![^.])\d+(?![^.])", "{i}", slot.name), int(numbers[0]) if numbers else None
    layer = roles[0].layer
    return re.sub(r"layers\.\d+\.", "", slot.role), layer


def checks_of_discovery(plan: Plan) -> tuple[Check, ...]:
    """What a plan that was found by content says of its own matches; () for any other plan."""
    return tuple(
        Check(slot.name, source, *place(slot), evidence.cosine, evidence.distance)
        for slot in plan.slots
        if slot.merged
        for source, evidence in plan.evidence.get(slot.name, {}).items()
        if evidence.found
    )
