"""The plan that two architecture specs imply: any target with any donors (DESIGN section 4).

Reads headers, config.json and tokenizers; never a weight. What it decides is one question for each
target tensor and donor: which expression, or why none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adamms.architectures.roles import ROLE_GROUPS, Role
from adamms.architectures.spec import Fused, load_architecture, recognise
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_file import TensorEntry
from adamms.errors import AdammsError, check_choice
from adamms.mapping.expression import Expression, Mean, Shape, names_in, shape_of
from adamms.mapping.plan import MERGEABLE, Plan, Slot
from adamms.mapping.specs.embeddings import DonorRows, Keep, mismatch
from adamms.mapping.specs.fusion import Layout
from adamms.mapping.specs.model import Model, describe

EMBEDDING_KINDS = ("embed", "head")


@dataclass(frozen=True)
class SpecMapper:
    """Rewrites each target tensor over the donors' roles.

    Args:
        duplicates: where the target duplicates a weight and the donor does not: `original` takes the
            donor's shared weight (paper, section 3.1, and the authors' scripts), `matching_only`
            keeps the target's image copy (appendix B).
        prefer: where the donor duplicates a weight and the target does not: its `text` or `image`
            copy, or their `mean`.
        embeddings: how embeddings and head are mapped: `keep`; by `rows`, which needs equal shapes
            or `embedding_rows`; by `tokens` through both tokenizers; or `auto`, which decides.
        embedding_rows: with `rows`: only this many leading rows correspond.
        exclude: roles or groups of roles that are kept, e.g. [norm] (the authors' --noLN).
        layers: [first, last], the only decoder layers merged, both included; None for all.
        match: a regular expression that the names of merged target tensors must contain.
    """

    duplicates: str = "original"
    prefer: str = "text"
    embeddings: str = "auto"
    embedding_rows: int | None = None
    exclude: tuple[str, ...] = ()
    layers: tuple[int, int] | None = None
    match: str | None = None

    def __post_init__(self) -> None:
        check_choice("mapper.duplicates", self.duplicates, ("original", "matching_only"))
        check_choice("mapper.prefer", self.prefer, ("text", "image", "mean"))
        check_choice("mapper.embeddings", self.embeddings, ("auto", "keep", "rows", "tokens"))
        for name in self.exclude:
            check_choice("mapper.exclude", name, ROLE_GROUPS)
        if self.layers is not None and (len(self.layers) != 2 or not 0 <= self.layers[0] <= self.layers[1]):
            raise AdammsError(f"mapper.layers is {list(self.layers)}; expected [first, last]")
        if self.embedding_rows is not None and self.embeddings != "rows":
            raise AdammsError("mapper.embedding_rows needs mapper.embeddings=rows")
        try:
            re.compile(self.match or "")
        except re.error as error:
            raise AdammsError(f"mapper.match is not a regular expression: {error}") from error

    def describe(self, checkpoint: Checkpoint, architecture: str | None, stage: object = None) -> Model:
        """Label the checkpoint's tensors by the spec `architecture`, or the one that config.json declares.

        From headers, so that there is no progress to show in a `stage`.
        """
        spec = (
            load_architecture(architecture)
            if architecture
            else recognise(checkpoint.config, checkpoint.folder)
        )
        return describe(checkpoint, spec)

    def plan(self, target: Model, donors: Mapping[str, Model], ancestor: Model | None = None) -> Plan:
        """Put every tensor of `target` in a slot.

        Raises:
            AdammsError: no donor, a donor tensor of another shape, or nothing to merge at all.
        """
        if not donors:
            raise AdammsError("no donor given; name one with model.donors.<name>.path=FOLDER")
        sources = {name: _Source(self, name, target, donor) for name, donor in donors.items()}
        ancestral = None if ancestor is None else _Source(self, "ancestor", target, ancestor)
        slots = tuple(
            self._slot(entry, target, sources, ancestral) for entry in target.checkpoint.tensors.values()
        )
        if not any(slot.merged for slot in slots):
            raise AdammsError(
                f"the plan merges nothing: of {target}, every tensor is kept: "
                + "; ".join(sorted({slot.reason for slot in slots}))
            )
        unused = {name: source.unused(slots) for name, source in sources.items()}
        return Plan(str(target), {name: str(donor) for name, donor in donors.items()}, slots, unused)

    def _slot(
        self, entry: TensorEntry, target: Model, sources: Mapping[str, "_Source"], ancestral: "_Source | None"
    ) -> Slot:
        label = target.labels[entry.name]
        parts = label.role.parts if isinstance(label.role, Fused) else (label.role,) if label.role else ()
        text = " + ".join(str(part) for part in parts)
        reason = label.reason or self._filtered(entry, parts)
        if reason:
            return Slot(entry.name, entry.shape, entry.dtype, text, reason=reason)
        layout = target.layout(entry.name)
        found = {name: source.find(entry, parts, layout) for name, source in sources.items()}
        merged = {name: item for name, item in found.items() if not isinstance(item, Keep)}
        lacking = {name: item.reason for name, item in found.items() if isinstance(item, Keep)}
        if not merged:
            return Slot(
                entry.name, entry.shape, entry.dtype, text, reason="; ".join(sorted(set(lacking.values())))
            )
        base = None if ancestral is None else ancestral.find(entry, parts, layout)
        return Slot(
            *(entry.name, entry.shape, entry.dtype, text, merged),
            ancestor=None if isinstance(base, Keep) else base,
            lacking=lacking,
        )

    def _filtered(self, entry: TensorEntry, parts: tuple[Role, ...]) -> str:
        """The reason why a filter keeps the tensor; "" if none does."""
        kinds = {part.kind for part in parts}
        for name in self.exclude:
            if kinds & set(ROLE_GROUPS[name]):
                return f"mapper.exclude={name}"
        if self.embeddings == "keep" and kinds & set(EMBEDDING_KINDS):
            return "mapper.embeddings=keep"
        layer = parts[0].layer
        if self.layers is not None and (layer is None or not self.layers[0] <= layer <= self.layers[1]):
            return f"mapper.layers={list(self.layers)}"
        if self.match is not None and not re.search(self.match, entry.name):
            return f"mapper.match={self.match}"
        _check_mergeable(entry)
        return ""


def _check_mergeable(entry: TensorEntry) -> None:
    if entry.dtype not in MERGEABLE:
        raise AdammsError(
            f"{entry.file}: {entry.name} has dtype {entry.dtype}, which looks quantised; expected one of "
            f"{', '.join(MERGEABLE)}"
        )


class _Source:
    """One donor (or the ancestor) as seen from the target."""

    def __init__(self, mapper: SpecMapper, name: str, target: Model, model: Model) -> None:
        self.mapper = mapper
        self.name = name
        self.target = target
        self.model = model
        self.roles = model.roles()
        self.rows = DonorRows(mapper.embeddings, mapper.embedding_rows, name, target, model)

    def find(self, entry: TensorEntry, parts: tuple[Role, ...], layout: Layout | None) -> Expression | Keep:
        """The expression for the target tensor `entry`, whose roles are `parts` (fused by `layout`)."""
        found: list[Expression] = []
        for part in parts:
            item = self._find_role(part)
            if isinstance(item, Keep):
                return item
            found.append(item)
        expression = found[0] if layout is None else self._fused(entry, layout, found)
        for name in names_in(expression):
            _check_mergeable(self.model.checkpoint.tensors[name])
        if parts[0].kind in EMBEDDING_KINDS:
            return self.rows.find(entry, expression, self._shape(entry, expression))
        shape = self._shape(entry, expression)
        if shape != entry.shape:
            raise mismatch(
                *(entry, self.name, self.model, expression, shape),
                f"mapper.exclude=[{parts[0].kind}] keeps the target's",
            )
        return expression

    def _fused(self, entry: TensorEntry, layout: Layout, found: list[Expression]) -> Expression:
        """The donor's parts in the target's layout."""
        for role, size, part in zip(layout.parts, layout.sizes, found, strict=True):
            shape = self._shape(entry, part)
            expected = (*entry.shape[: layout.dim], size, *entry.shape[layout.dim + 1 :])
            if shape != expected:
                raise mismatch(
                    replace(entry, name=f"{entry.name} ({role})", shape=expected),
                    *(self.name, self.model, part, shape),
                    f"mapper.exclude=[{role.kind}] keeps the target's",
                )
        return layout.fuse(found, self.model.shape)

    def unused(self, slots: tuple[Slot, ...]) -> dict[str, tuple[str, ...]]:
        """The donor's tensors that no slot reads, by reason."""
        used = {
            name for slot in slots if slot.merged for e in self._expressions(slot) for name in names_in(e)
        }
        reasons: dict[str, list[str]] = {}
        for name, label in self.model.labels.items():
            if name not in used:
                reasons.setdefault(label.reason or "no tensor of the target takes it", []).append(name)
        return {reason: tuple(names) for reason, names in reasons.items()}

    def _expressions(self, slot: Slot) -> tuple[Expression, ...]:
        return (slot.donors[self.name],) if self.name in slot.donors else ()

    def _find_role(self, role: Role) -> Expression | Keep:
        shared = self.roles.get(role.with_variant(None))
        if role.variant is None:
            copies = {v: self.roles.get(role.with_variant(v)) for v in ("text", "image")}
            if shared is not None:
                return shared
            return self._preferred(role, copies["text"], copies["image"])
        same = self.roles.get(role)
        if same is not None:
            return same
        if shared is None:
            return self._none(role)
        if self.mapper.duplicates == "matching_only" and role.variant == "image":
            return Keep(f"mapper.duplicates=matching_only and {self.name} has no image copy of {role.kind}")
        return shared

    def _preferred(self, role: Role, text: Expression | None, image: Expression | None) -> Expression | Keep:
        if text is None or image is None:
            return self._none(role)
        return {"text": text, "image": image, "mean": Mean((text, image))}[self.mapper.prefer]

    def _none(self, role: Role) -> Keep:
        layers = {r.layer for r in self.roles if r.layer is not None}
        if role.layer is not None and role.layer not in layers:
            return Keep(f"{self.name} has {len(layers)} layers")
        return Keep(f"{self.name} has no {role.kind}.{role.part}")

    def _shape(self, entry: TensorEntry, expression: Expression) -> Shape:
        try:
            return shape_of(expression, self.model.shape)
        except ValueError as error:
            raise AdammsError(f"{entry.name}: {self.name} ({self.model}) does not fit: {error}") from error
