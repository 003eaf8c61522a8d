"""A mergekit YAML as a schedule: the shares and the method's numbers at every tensor, as its settings say.

Knows neither files nor how the YAML is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from adamms.errors import AdammsError
from adamms.mapping.plan import Slot
from adamms.merge.mergekit.methods import MEANINGS, Found
from adamms.merge.mergekit.settings import Reading
from adamms.merge.method import Method, Statistics
from adamms.merge.rules import Shares
from adamms.merge.schedule import Schedule


@dataclass(frozen=True)
class ByTensor(Schedule):
    """Shares and numbers tensor by tensor, for the method that mergekit calls so.

    Args:
        method_name: mergekit's.
        parameters: of the merge: key -> setting.
        slices: what follows each other along the layers: `layers` [first, end) or null for all, `models`
            {TARGET or donor: its parameters}, `parameters`.
    """

    method_name: str
    parameters: Mapping[str, Any]
    slices: tuple[Mapping[str, Any], ...]

    name: ClassVar[str] = "mergekit"
    formula: ClassVar[str] = "weights, filters and gradients of a mergekit YAML"

    def shares(self, slot: Slot, layers: int, shares: Shares, found: Statistics | None) -> dict[str, float]:
        """The YAML's; `shares` gives the donors' names."""
        own, _ = self._found(slot, layers)
        return {name: own.get(name, 0.0) for name in shares}

    def method(self, slot: Slot, layers: int, method: Method) -> Method:
        _, numbers = self._found(slot, layers)
        changed: Any = method  # a dataclass, as all methods are
        return replace(changed, **numbers)

    def _found(self, slot: Slot, layers: int) -> Found:
        part, place = self._slice(slot, layers)
        reading = Reading(slot.name, place, list(part["models"]), part["models"], self._common(part))
        return MEANINGS[self.method_name].found(reading)

    def _common(self, part: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        return part["parameters"], self.parameters

    def _slice(self, slot: Slot, layers: int) -> tuple[Mapping[str, Any], float]:
        """The slice that a tensor is in, and where in it: embeddings in the first one, the head in the last.

        Raises:
            AdammsError: the slices are not all of the model's layers.
        """
        last = self.slices[-1]["layers"]
        if last is not None and last[1] != layers:
            raise AdammsError(
                f"recipe: the slices end with layer {last[1]}, and the model has {layers} layers; a run keeps"
                " all layers of its target"
            )
        if not slot.roles:
            raise AdammsError(
                f"recipe: {slot.name} has no role in this mapping, so no layer; mapper=spec knows them"
            )
        role = slot.roles[0]
        if role.layer is None:
            return self.slices[0 if role.kind == "embed" else -1], 0.0
        for part in self.slices:
            first, end = part["layers"] or (0, layers)
            if first <= role.layer < end:
                return part, (role.layer - first) / (end - first - 1) if end - first > 1 else 1.0
        raise AdammsError(f"recipe: no slice has layer {role.layer}")
