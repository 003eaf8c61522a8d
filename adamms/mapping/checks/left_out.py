"""What a plan leaves out of the language model although a donor has it.

Goes by names, shapes and what was found by content. Knows neither modes nor configurations.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.expression import Shape
from adamms.mapping.names import PLACE, layer_of, may_be_language
from adamms.mapping.plan import Plan, Slot

# Tensors at a donor's place may be left out up to this share of the language model: a norm that was trained
# anew is a row of the report, a stack of experts is half of a model.
NEGLIGIBLE = 0.01
# Reasons by which a setting leaves out: on purpose.
ON_PURPOSE = re.compile(r"(mapper|merge)(\.\w+)?=")
NUMBER = re.compile(r"\.\d+(?=\.|$)")


@dataclass(frozen=True)
class LeftOut:
    """One kept tensor of the target that a donor has as well.

    Args:
        slot: the target's.
        donor: the donor's name.
        resembles: the name of the donor's tensor.
        by_weights: whether the weights resemble; else both lie at the same place.
    """

    slot: Slot
    donor: str
    resembles: str
    by_weights: bool


def left_out(plan: Plan, donors: Mapping[str, Checkpoint]) -> list[LeftOut]:
    """Every kept tensor of the language model that a donor has, and that nobody asked to leave out.

    It resembles a donor's tensor if its weights do, or if both lie at the same place in a layer of which
    other matrices are merged: of one size, or both parts of the experts.
    """
    partly = {
        place for slot in plan.slots if slot.merged and len(slot.shape) > 1 and (place := layer_of(slot.name))
    }
    spare = {name: _Spare.of(plan, name, checkpoint) for name, checkpoint in donors.items()}
    found = []
    for slot in plan.slots:
        if slot.merged or ON_PURPOSE.search(slot.reason) or not may_be_language(slot.name, slot.shape):
            continue
        for donor in donors:
            finding = plan.findings.get(slot.name, {}).get(donor)
            inside = len(slot.shape) > 1 and layer_of(slot.name) in partly
            weights = finding.nearest if finding is not None and finding.grade != "none" else ""
            nearest = weights or (spare[donor].like(slot) if inside else "")
            if nearest:
                found.append(LeftOut(slot, donor, nearest, bool(weights)))
                break
    return found


def share_left_out(plan: Plan, found: Iterable[LeftOut]) -> float:
    """Of the language model's parameters, those merged and those left out."""
    out = sum(each.slot.elements for each in found)
    merged = sum(slot.elements for slot in plan.slots if slot.merged)
    return out / max(1, out + merged)


@dataclass(frozen=True)
class _Spare:
    """The donor's matrices in layers that no slot reads: (layer, name without numbers) -> shape and name."""

    places: Mapping[tuple[int, str], tuple[Shape, str]]
    experts: Mapping[int, str]

    @staticmethod
    def of(plan: Plan, donor: str, checkpoint: Checkpoint) -> "_Spare":
        places: dict[tuple[int, str], tuple[Shape, str]] = {}
        experts: dict[int, str] = {}
        for name, place in _placed(name for names in plan.unused.get(donor, {}).values() for name in names):
            layer, local = int(place["layer"]), NUMBER.sub("", place["local"])
            places[layer, local] = (checkpoint.tensors[name].shape, name)
            if "expert" in local:
                experts.setdefault(layer, name)
        return _Spare(places, experts)

    def like(self, slot: Slot) -> str:
        """The name of the spare tensor at the slot's place; "" if there is none."""
        place = PLACE.match(slot.name)
        if place is None:
            return ""
        layer, local = int(place["layer"]), NUMBER.sub("", place["local"])
        shape, name = self.places.get((layer, local), ((), ""))
        if name and math.prod(shape) == slot.elements:
            return name
        return self.experts.get(layer, "") if "expert" in local else ""


def _placed(names: Iterable[str]) -> Iterator[tuple[str, re.Match[str]]]:
    for name in names:
        place = PLACE.match(name)
        if place is not None and may_be_language(name):
            yield name, place
