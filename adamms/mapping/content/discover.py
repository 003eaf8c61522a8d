"""The plan without any spec: correspondences found in the weights themselves.

Models of one ancestor still resemble each other tensor by tensor, which sketches show (`sketch`). `noise`
says what a cosine is worth, `match` which tensors belong together, `language` which of them are the language
model, `experts` puts stacks together. This module writes the plan.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from adamms.architectures.leftovers import leftover
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.vocabulary import align_rows, read_vocabulary
from adamms.errors import AdammsError, check_pattern
from adamms.mapping.content.experts import in_other_order, together
from adamms.mapping.content.language import language_model
from adamms.mapping.content.match import match_models
from adamms.mapping.content.noise import LEAST_COSINE
from adamms.mapping.content.rows import RowMap
from adamms.mapping.content.sketch import SketchedModel, bytes_to_read, sketch_model, sketchable
from adamms.mapping.content.whole import Match
from adamms.mapping.finding import Finding
from adamms.mapping.plan import ANCESTOR, Difference, Plan, Slot
from adamms.system.threads import Advance

# The role of what the ancestor has too: engines may take it that no such tensor is of a vision encoder.
LANGUAGE_MODEL = "language model"
# Shows the progress of a stage, as `Console.stage` does: title, units, what they are.
Stages = Callable[[str, int, str], AbstractContextManager[Advance]]
# Target tensor -> match, for one other model.
Matches = Mapping[str, Match]


@dataclass(frozen=True)
class DiscoverMapper:
    """Finds out by content which donor tensors, or which parts, each target tensor corresponds to.

    Args:
        scope: `language_model` merges the decoder LM only, as the paper does, even where vision encoders
            have one origin too. With an ancestor, an LM without vision, that is what the ancestor has as
            well; without, see `language`. Where neither names nor config.json tell, give an ancestor or
            `exclude_match`.
            `all` merges whatever is found.
        match: a regular expression that the names of merged target tensors must contain.
        exclude_match: a regular expression; target tensors whose names contain it are kept.
    """

    reads_weights: ClassVar[bool] = True

    scope: Literal["language_model", "all"]
    match: str | None
    exclude_match: str | None

    def __post_init__(self) -> None:
        check_pattern("mapper.match", self.match)
        check_pattern("mapper.exclude_match", self.exclude_match)

    def describe(self, checkpoint: Checkpoint, architecture: str | None, stage: Stages) -> SketchedModel:
        """Sketch the checkpoint, which reads all of it once; `architecture` does not matter."""
        with stage("sketch", bytes_to_read(checkpoint), "bytes") as advance:
            return sketch_model(checkpoint, advance)

    def plan(
        self,
        target: SketchedModel,
        donors: Mapping[str, SketchedModel],
        ancestor: SketchedModel | None = None,
    ) -> Plan:
        """Put every tensor of `target` in a slot.

        Raises:
            AdammsError: no donor, or one (or an ancestor) that has no ancestor in common with the target.
        """
        sources = ({} if ancestor is None else {ANCESTOR: ancestor}) | dict(donors)
        found = {name: _matches(target, source) for name, source in sources.items()}
        language = self._language(target, found)
        for name, source in sources.items():
            _check_related(name, target, source, found[name], language)
        slots = tuple(self._slot(entry, found, language) for entry in target.checkpoint.tensors.values())
        reasons = {name: dict.fromkeys(donor.checkpoint.tensors, "") for name, donor in donors.items()}
        finding = {
            entry.name: {source: matches[entry.name].finding.rounded for source, matches in found.items()}
            for entry in target.checkpoint.tensors.values()
            if sketchable(entry) and not _never_merged(entry)
        }
        plan = Plan.of(target, donors, slots, reasons, finding)
        return replace(plan, differences=(*_orders(plan, found), *in_other_order(plan)))

    def _slot(self, entry: TensorEntry, found: Mapping[str, Matches], language: frozenset[str]) -> Slot:
        matches = {source: items[entry.name] for source, items in found.items() if entry.name in items}
        base = matches.pop(ANCESTOR, None)
        role = LANGUAGE_MODEL if base is not None and base.finding.found else ""
        slot = Slot(entry.name, entry.shape, entry.dtype, role)
        reason = self._filtered(entry)
        merged = {name: match.expression for name, match in matches.items() if match.expression is not None}
        if merged and entry.name not in language:
            reason = reason or "resembles a donor's, but is not of the language model (mapper.scope)"
        if reason:
            return slot.kept(reason)
        lacking = {
            name: _reason(name, match.finding) for name, match in matches.items() if name not in merged
        }
        return slot.merged_from(merged, lacking, None if base is None else base.expression)

    def _filtered(self, entry: TensorEntry) -> str:
        """Why it is never merged, why a filter keeps the tensor, or why it cannot be compared; "" if none."""
        if reason := _never_merged(entry):
            return reason
        if not sketchable(entry):
            return f"cannot be compared: {entry.dtype} of shape {list(entry.shape)}"
        if self.match is not None and not re.search(self.match, entry.name):
            return f"mapper.match={self.match}"
        if self.exclude_match is not None and re.search(self.exclude_match, entry.name):
            return f"mapper.exclude_match={self.exclude_match}"
        return ""

    def _language(self, target: SketchedModel, found: Mapping[str, Matches]) -> frozenset[str]:
        """The target tensors that may be merged by `scope`."""
        if self.scope == "all":
            return frozenset(target.checkpoint.tensors)
        if ANCESTOR in found:
            return frozenset(name for name, match in found[ANCESTOR].items() if match.finding.found)
        resembling = {name for matches in found.values() for name, m in matches.items() if m.finding.found}
        return language_model(target, resembling)


def _matches(target: SketchedModel, source: SketchedModel) -> dict[str, Match]:
    """Target tensor -> match; of a stack of all its matrices."""
    mine, theirs = (read_vocabulary(model.checkpoint.folder) for model in (target, source))
    rows: RowMap = lambda count, source_count: None  # noqa: E731
    if mine is not None and theirs is not None and mine != theirs:
        rows = partial(align_rows, mine, theirs)
    found = match_models(target, source, rows)
    return {
        entry.name: together([found[part.name] for part in target.parts(entry.name)], source.shape)
        for entry in target.checkpoint.tensors.values()
        if sketchable(entry)
    }


def _never_merged(entry: TensorEntry) -> str:
    """The reason, by the name alone: what training adapts or leaves behind is no weight; "" for others."""
    label = leftover(entry.name, str(entry.file))
    return "" if label is None else label.reason


def _orders(plan: Plan, found: Mapping[str, Matches]) -> Iterator[Difference]:
    """In which other order a model holds the rows of what is merged, for people."""
    for source, matches in found.items():
        counts = Counter(
            matches[slot.name].order
            for slot in plan.slots
            if slot.merged and slot.name in matches and matches[slot.name].expression is not None
        )
        for order, count in counts.items():
            if order:
                yield Difference(source, "order of rows", "", f"{order}: {count} tensors, put in order")


def _reason(donor: str, finding: Finding) -> str:
    """Why a tensor has no part of this donor: few different texts, the numbers are in the finding."""
    if finding.grade == "unsure":
        return f"not clearly any one tensor of {donor}"
    return f"no tensor of {donor} resembles it"


def _check_related(
    name: str, target: SketchedModel, source: SketchedModel, matches: Matches, language: frozenset[str]
) -> None:
    """A common ancestor shows in matrices: vectors are short, and the norms of all models look alike."""
    matrices = {name: match.finding for name, match in matches.items() if len(target.shape(name)) > 1}
    found = [item for item, finding in matrices.items() if finding.found]
    if any(item in language for item in found):
        return
    where = f"model.{name}" if name == ANCESTOR else f"model.donors.{name}"
    where = f"{where} ({source.checkpoint.folder})"
    if found:
        raise AdammsError(
            f"{where}: the language models have no ancestor in common; {len(found)} tensors outside the "
            f"language model do resemble each other, first {found[0]} and {matrices[found[0]].nearest} "
            f"(cosine {matrices[found[0]].cosine:.2f}); mapper.scope=all would merge those"
        )
    best = max(matrices, key=lambda item: matrices[item].cosine, default="")
    said = f"{matrices[best].cosine:.2f} ({best} and {matrices[best].nearest})" if best else "of none"
    raise AdammsError(
        f"{where}: no ancestor in common with {target.checkpoint.folder}: the best cosine of any pair of "
        f"matrices is {said}, which unrelated ones reach too; expected about 0.9, and {LEAST_COSINE} at the "
        f"least, of models that were fine-tuned from one"
    )
