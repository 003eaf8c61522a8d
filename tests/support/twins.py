"""Recipes for two folders with the same names and shapes: every tensor of numbers is merged."""

from pathlib import Path

from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.expression import Read
from adamms.mapping.plan import Plan, Slot
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe


def twin(target: Path, donor: Path, alpha: float) -> Recipe:
    """The linear merge, name by name."""
    own, other = open_checkpoint(target), open_checkpoint(donor)
    slots = []
    for name, entry in own.tensors.items():
        slot = Slot(name, entry.shape, entry.dtype, "")
        numbers = entry.dtype in ("F32", "F16", "BF16")
        slots.append(slot.merged_from({"a": Read(name)}, {}, None) if numbers else slot.kept("no weight"))
    return Recipe(own, {"a": other}, Plan("target", {"a": "donor"}, tuple(slots)), Linear(), {"a": alpha})
