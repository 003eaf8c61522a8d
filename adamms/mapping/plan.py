"""The plan of a merge: one slot for every target tensor, merged or kept with the reason.

Plain data that a person can read as JSON; holds no weights and knows nothing of how it was found.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from adamms.architectures.roles import Role, roles_in
from adamms.checkpoint.tensor_entry import DTYPES
from adamms.errors import AdammsError
from adamms.mapping.expression import Expression, Shape, Tokens, names_in, to_tree
from adamms.mapping.finding import Finding
from adamms.mapping.layout import Experts


@dataclass(frozen=True)
class Slot:
    """One target tensor: merged from these expressions, or kept for this reason.

    >>> from adamms.mapping.expression import Read
    >>> norm = Slot("model.norm.weight", (64,), "BF16", "final_norm.weight")
    >>> norm.merged_from({"donor": Read("norm.weight")}, lacking={}, ancestor=None).merged
    True
    >>> norm.kept("mapper.exclude=norm").to_json()["action"]
    'keep'

    Args:
        name: the tensor's name in the target checkpoint.
        shape: its shape.
        dtype: its dtype, in safetensors' words ("BF16").
        role: its canonical role(s) in the decoder LM, as text; "" if it has none.
        donors: donor name -> expression with the target's shape; empty when the tensor is kept.
        ancestor: the same over the ancestor's tensors, if there is one.
        reason: why it is kept; "" when it is merged.
        lacking: donor name -> why that donor has no part in a slot that others are merged into. Its share
            stays with the target there: the other donors' shares do not grow.
        experts: how they lie in it, of a tensor of all experts of a layer; a method merges each by itself.
    """

    name: str
    shape: Shape
    dtype: str
    role: Annotated[str, BeforeValidator(lambda role: role or "")]
    donors: Mapping[str, Expression] = field(default_factory=dict)
    ancestor: Expression | None = None
    reason: str = ""
    lacking: Mapping[str, str] = field(default_factory=dict)
    experts: Experts | None = None

    def kept(self, reason: str) -> "Slot":
        """The slot of a tensor that stays as it is."""
        return replace(self, reason=reason)

    def merged_from(
        self, donors: Mapping[str, Expression], lacking: Mapping[str, str], ancestor: Expression | None
    ) -> "Slot":
        """The slot merged from `donors`; kept for the reasons in `lacking` where there are none."""
        if not donors:
            return self.kept("; ".join(sorted(set(lacking.values()))))
        return replace(self, donors=donors, lacking=lacking, ancestor=ancestor)

    @property
    def roles(self) -> tuple[Role, ...]:
        """Those in `role`, several of a fused tensor; none where the mapping knows none."""
        try:
            return roles_in(self.role)
        except AdammsError:
            return ()

    @property
    def merged(self) -> bool:
        return bool(self.donors)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * DTYPES[self.dtype].itemsize

    def elements_of(self, donor: str) -> int:
        """How many of the elements `donor` has a part in."""
        expression = self.donors[donor]
        if isinstance(expression, Tokens):
            return self.elements // max(1, self.shape[0]) * expression.matched
        return self.elements

    def to_json(self) -> dict[str, Any]:
        role = self.role or None
        record = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "role": role}
        if not self.merged:
            return record | {"action": "keep", "reason": self.reason}
        optional = {
            "rows_from_donor": {d: e.matched for d, e in self.donors.items() if isinstance(e, Tokens)},
            "ancestor": None if self.ancestor is None else to_tree(self.ancestor),
            "lacking": dict(self.lacking),
            "experts": None if self.experts is None else asdict(self.experts),
        }
        donors = {donor: to_tree(expression) for donor, expression in self.donors.items()}
        given = {key: value for key, value in optional.items() if value}
        return record | {"action": "merge", "donors": donors} | given


# The name under which the ancestor stands beside donors, none of which can have it.
ANCESTOR = "ancestor"


@dataclass(frozen=True)
class Coverage:
    """How much of the target one action (and, for kept tensors, one reason) accounts for."""

    action: str
    reason: str
    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Part:
    """How much of the target one donor has a part in; of tensors aligned by token its rows only."""

    donor: str
    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Alignment:
    """One tensor whose rows were aligned by token: how many of its `rows` the donor has."""

    tensor: str
    donor: str
    matched: int
    rows: int


@dataclass(frozen=True)
class Difference:
    """One thing in which a model is not as the target, or that could not be compared.

    >>> Difference("a", "rope_theta", "1000000", "10000")
    Difference(model='a', what='rope_theta', target='1000000', other='10000')

    Args:
        model: donor name, or "ancestor".
        what: the setting, or "weights".
        target: what the target has; "" where there is nothing to say.
        other: what the other model has.
    """

    model: str
    what: str
    target: str
    other: str


@dataclass(frozen=True)
class Plan:
    """Every target tensor in exactly one slot.

    >>> from adamms.mapping.expression import Read
    >>> norm = Slot("norm.weight", (64,), "BF16", "final_norm.weight", {"donor": Read("norm.weight")})
    >>> plan = Plan("qwen2_vl", {"donor": "llava_onevision_hf"}, (norm,))
    >>> plan.coverage()
    [Coverage(action='merge', reason='', tensors=1, parameters=64, bytes=128)]
    >>> Plan.from_json(plan.to_json()) == plan
    True

    Args:
        target: path and architecture of the target, for people.
        donors: the same for each donor.
        slots: in the order of the target's tensor names.
        unused: donor name -> {reason: names of the donor's tensors that no slot reads}.
        findings: target tensor -> donor or ANCESTOR -> what the weights say, in a plan found by content.
        differences: in what the models are not as the target, for people.
    """

    target: str
    donors: Mapping[str, str]
    slots: tuple[Slot, ...]
    unused: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    findings: Mapping[str, Mapping[str, Finding]] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()

    @classmethod
    def of(
        cls,
        target: object,
        donors: Mapping[str, object],
        slots: tuple[Slot, ...],
        reasons: Mapping[str, Mapping[str, str]],
        findings: Mapping[str, Mapping[str, Finding]] | None = None,
    ) -> "Plan":
        """A mapper's plan of these models.

        Args:
            reasons: donor name -> for every tensor of the donor the reason why none may take it, or "".

        Raises:
            AdammsError: there is no donor, or nothing is merged.
        """
        if not donors:
            raise AdammsError("no donor given; name one with model.donors.<name>.path=FOLDER")
        if not any(slot.merged for slot in slots):
            kept = "; ".join(sorted({slot.reason for slot in slots}))
            raise AdammsError(f"the plan merges nothing: of {target}, every tensor is kept: {kept}")
        names = {name: str(donor) for name, donor in donors.items()}
        unused = {donor: _unused(donor, reasons[donor], slots) for donor in donors}
        return cls(str(target), names, slots, unused, findings or {})

    def coverage(self) -> list[Coverage]:
        """Totals per action and reason; the merged ones first, then by size."""
        groups: dict[tuple[str, str], list[Slot]] = {}
        for slot in self.slots:
            groups.setdefault(("merge", "") if slot.merged else ("keep", slot.reason), []).append(slot)
        rows = [
            Coverage(action, reason, len(slots), sum(s.elements for s in slots), sum(s.nbytes for s in slots))
            for (action, reason), slots in groups.items()
        ]
        return sorted(rows, key=lambda row: (row.action != "merge", -row.bytes, row.reason))

    def parts(self) -> list[Part]:
        """What each donor has a part in, in the donors' order."""
        found = []
        for donor in self.donors:
            slots = [slot for slot in self.slots if donor in slot.donors]
            elements = [slot.elements_of(donor) for slot in slots]
            sizes = [count * DTYPES[slot.dtype].itemsize for slot, count in zip(slots, elements, strict=True)]
            found.append(Part(donor, len(slots), sum(elements), sum(sizes)))
        return found

    def alignments(self) -> list[Alignment]:
        """Every tensor and donor whose rows were aligned by token."""
        return [
            Alignment(slot.name, donor, expression.matched, len(expression.rows))
            for slot in self.slots
            for donor, expression in slot.donors.items()
            if isinstance(expression, Tokens)
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "donors": dict(self.donors),
            "differences": [vars(difference) for difference in self.differences],
            "coverage": [vars(row) for row in self.coverage()],
            "donor_coverage": [vars(part) for part in self.parts()],
            "aligned_by_token": [vars(alignment) for alignment in self.alignments()],
            "unused": {
                donor: {reason: list(names) for reason, names in reasons.items()}
                for donor, reasons in self.unused.items()
            },
            "tensors": [slot.to_json() | self._evidence(slot.name) for slot in self.slots],
        }

    def _evidence(self, name: str) -> dict[str, Any]:
        found = {source: finding.to_json() for source, finding in self.findings.get(name, {}).items()}
        return {"evidence": found} if found else {}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Plan":
        """The plan that `to_json` wrote.

        Raises:
            AdammsError: not a plan.
        """
        try:
            tensors = record["tensors"]
            findings = {tensor["name"]: tensor["evidence"] for tensor in tensors if "evidence" in tensor}
            content = {**record, "slots": tensors, "findings": findings}
            return TypeAdapter(cls).validate_python(content)
        except (KeyError, TypeError, ValidationError) as error:
            problem = f"{type(error).__name__} {' '.join(str(error).split())[:200]}"
            raise AdammsError(f"not a plan as plan.json holds it: {problem}") from error


def _unused(donor: str, reasons: Mapping[str, str], slots: Sequence[Slot]) -> dict[str, tuple[str, ...]]:
    """The donor's tensors that no slot reads, by reason."""
    read = {name for slot in slots if donor in slot.donors for name in names_in(slot.donors[donor])}
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if name not in read:
            found.setdefault(reason or "no tensor of the target takes it", []).append(name)
    return {reason: tuple(names) for reason, names in found.items()}
