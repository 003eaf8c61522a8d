"""The plan that two architecture specs imply: any target with any donors.

Reads headers, config.json and tokenizers; never a weight. Answers one question for each target tensor and
donor: which expression stands for it, or why none does.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from adamms.architectures.recognise import named, recognise
from adamms.architectures.roles import VOCABULARY_ROLES, Role, check_named, is_named
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import MERGEABLE, TensorEntry
from adamms.errors import AdammsError, check_pattern
from adamms.mapping.expression import Expression, Mean, Shape, names_in, shape_of
from adamms.mapping.layout import Layout, StackedLayout
from adamms.mapping.plan import ANCESTOR, Plan, Slot
from adamms.mapping.specs.embeddings import Embeddings, Keep, mismatch
from adamms.mapping.specs.model import Model, describe


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
        trust_remote_code: whether Python files in a checkpoint's folder may run, to learn the names of its
            tensors where neither a spec nor transformers knows them.
    """

    reads_weights: ClassVar[bool] = False

    duplicates: Literal["original", "matching_only"]
    prefer: Literal["text", "image", "mean"]
    embeddings: Literal["auto", "keep", "rows", "tokens"]
    embedding_rows: PositiveInt | None
    exclude: tuple[str, ...]
    layers: tuple[NonNegativeInt, NonNegativeInt] | None
    match: str | None
    trust_remote_code: bool

    def __post_init__(self) -> None:
        if self.layers is not None and (len(self.layers) != 2 or self.layers[0] > self.layers[1]):
            raise AdammsError(f"mapper.layers is {list(self.layers)}; expected [first, last]")
        if self.embedding_rows is not None and self.embeddings != "rows":
            raise AdammsError("mapper.embedding_rows needs mapper.embeddings=rows")
        check_pattern("mapper.match", self.match)

    def describe(self, checkpoint: Checkpoint, architecture: str | None, stage: object = None) -> Model:
        """Label the checkpoint's tensors by the spec `architecture`, or the one that config.json declares.

        Reads headers only, which takes no time that a `stage` could show.
        """
        given = (checkpoint.config, checkpoint.folder, self.trust_remote_code)
        return describe(checkpoint, named(architecture, *given) if architecture else recognise(*given))

    def plan(self, target: Model, donors: Mapping[str, Model], ancestor: Model | None = None) -> Plan:
        """Put every tensor of `target` in a slot.

        Raises:
            AdammsError: no donor, a donor tensor of another shape, nothing to merge at all, or an excluded
                role that the target does not have.
        """
        kinds = (part.kind for label in target.labels.values() for part in label.parts)
        check_named("mapper.exclude", self.exclude, kinds)
        sources = {name: _Source(self, name, target, donor) for name, donor in donors.items()}
        base = None if ancestor is None else _Source(self, ANCESTOR, target, ancestor)
        slots = tuple(
            self._slot(entry, target, sources, base) for entry in target.checkpoint.tensors.values()
        )
        reasons = {
            name: {tensor: label.reason for tensor, label in donor.labels.items()}
            for name, donor in donors.items()
        }
        return Plan.of(target, donors, slots, reasons)

    def _slot(
        self, entry: TensorEntry, target: Model, sources: Mapping[str, "_Source"], ancestor: "_Source | None"
    ) -> Slot:
        label = target.labels[entry.name]
        slot = Slot(entry.name, entry.shape, entry.dtype, " + ".join(map(str, label.parts)))
        reason = label.reason or self._filtered(entry, label.parts)
        if reason:
            return slot.kept(reason)
        layout = target.layout(entry.name)
        parts = label.parts if layout is None else layout.parts
        found = {name: source.find(entry, parts, layout) for name, source in sources.items()}
        base = None if ancestor is None else ancestor.find(entry, parts, layout)
        merged = slot.merged_from(
            {name: item for name, item in found.items() if not isinstance(item, Keep)},
            {name: item.reason for name, item in found.items() if isinstance(item, Keep)},
            None if isinstance(base, Keep) else base,
        )
        if merged.merged and isinstance(layout, StackedLayout):
            return replace(merged, experts=layout.experts)
        return merged

    def _filtered(self, entry: TensorEntry, parts: tuple[Role, ...]) -> str:
        """The reason why a filter keeps the tensor; "" if none does."""
        kinds = {part.kind for part in parts}
        for name in self.exclude:
            if any(is_named(kind, [name]) for kind in kinds):
                return f"mapper.exclude={name}"
        if self.embeddings == "keep" and kinds & set(VOCABULARY_ROLES):
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
        self.embeddings = Embeddings(mapper.embeddings, mapper.embedding_rows, name, target, model)

    def find(
        self, entry: TensorEntry, parts: tuple[Role, ...], layout: Layout | StackedLayout | None
    ) -> Expression | Keep:
        """The expression for the target tensor `entry`, whose roles are `parts` (together by `layout`)."""
        self._check_experts(entry, parts[0])
        found: list[Expression] = []
        for part in parts:
            expression = self._find_role(part)
            if isinstance(expression, Keep):
                return expression
            found.append(expression)
        if layout is None:
            expression = found[0]
        else:
            for role, wanted, item in zip(parts, layout.shapes(entry.shape), found, strict=True):
                self._check_shape(f"{entry.name} ({role})", wanted, role, item)
            expression = layout.fuse(found, self.model.shape)
        for name in names_in(expression):
            _check_mergeable(self.model.checkpoint.tensors[name])
        if parts[0].kind in VOCABULARY_ROLES:
            return self.embeddings.find(entry, expression, self._shape(entry.name, expression))
        self._check_shape(entry.name, entry.shape, parts[0], expression)
        return expression

    def _check_experts(self, entry: TensorEntry, role: Role) -> None:
        if role.expert is None:
            return
        mine, theirs = (model.experts.get(role.layer, 0) for model in (self.target, self.model))
        if theirs and mine != theirs:
            raise AdammsError(
                f"{entry.name}: the target has {mine} experts in layer {role.layer}, {self.name} has {theirs}"
                f" ({self.model.checkpoint.folder}); experts correspond by number. mapper.exclude=[moe] keeps"
                f" the target's"
            )

    def _check_shape(self, tensor: str, wanted: Shape, role: Role, expression: Expression) -> None:
        shape = self._shape(tensor, expression)
        if shape != wanted:
            advice = f"mapper.exclude=[{role.kind}] keeps the target's"
            raise mismatch(tensor, wanted, self.target, self.name, self.model, expression, shape, advice)

    def _shape(self, tensor: str, expression: Expression) -> Shape:
        try:
            return shape_of(expression, self.model.shape)
        except ValueError as error:
            raise AdammsError(f"{tensor}: {self.name} ({self.model}) does not fit: {error}") from error

    def _find_role(self, role: Role) -> Expression | Keep:
        same, shared = self.model.roles.get(role), self.model.roles.get(role.with_variant(None))
        if same is not None:
            return same
        if role.variant is None:
            text, image = (self.model.roles.get(role.with_variant(variant)) for variant in ("text", "image"))
            if text is not None and image is not None:
                return {"text": text, "image": image, "mean": Mean((text, image))}[self.mapper.prefer]
        elif shared is not None:
            if self.mapper.duplicates == "matching_only" and role.variant == "image":
                reason = f"{self.name} has no image copy of {role.kind}"
                return Keep(f"mapper.duplicates=matching_only and {reason}")
            return shared
        if role.layer is not None and role.layer not in self.model.layers:
            return Keep(f"{self.name} has {len(self.model.layers)} layers")
        return Keep(f"{self.name} has no {replace(role, layer=None, variant=None, expert=None)}")
