"""Rows of the tensors that a plan merges, read from the target and from every model behind the plan.

Reads only the rows that are asked for. Does not know what they are compared for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.expression import Expression, Tokens, evaluate_rows, names_in
from adamms.mapping.plan import ANCESTOR, Slot


@dataclass(frozen=True)
class MappedModels:
    """The models behind a plan.

    Args:
        target: the checkpoint that slots name tensors of.
        donors: name -> checkpoint that slots' expressions read.
        ancestor: the same for the ancestor's expressions, or None.
    """

    target: Checkpoint
    donors: Mapping[str, Checkpoint]
    ancestor: Checkpoint | None = None

    def expressions(self, slot: Slot) -> dict[str, Expression]:
        """Donor name, or "ancestor" -> what it has for the slot."""
        if self.ancestor is None or slot.ancestor is None:
            return dict(slot.donors)
        return {**slot.donors, ANCESTOR: slot.ancestor}

    def checkpoint(self, source: str) -> Checkpoint:
        """Of a donor, or of "ancestor"."""
        found = self.ancestor if source == ANCESTOR else self.donors[source]
        assert found is not None
        return found

    def tensors_read(self, slot: Slot, source: str) -> str:
        """The names of the tensors that the slot reads of `source`, for people."""
        return " + ".join(dict.fromkeys(names_in(self.expressions(slot)[source])))

    def target_rows(self, slot: Slot, rows: Sequence[range]) -> torch.Tensor:
        """(n, rest) float32: the target's own."""
        tensor = self.target.rows(slot.name)
        return _joined([tensor[part.start : part.stop] for part in rows])

    def source_rows(self, slot: Slot, source: str, rows: Sequence[range]) -> torch.Tensor:
        """(n, rest) float32: the value of the slot's expression over `source`."""
        checkpoint, expression = self.checkpoint(source), self.expressions(slot)[source]
        tensors = {name: checkpoint.rows(name) for name in names_in(expression)}
        target = self.target.rows(slot.name)
        return _joined([evaluate_rows(expression, tensors, part.start, part.stop, target) for part in rows])


def spread_rows(slot: Slot, count: int) -> list[range]:
    """About `count` rows of a slot, evenly spread: all of a vector, of embeddings those that all have."""
    known: Sequence[int] = range(slot.shape[0])
    mapped = [e.rows for e in (*slot.donors.values(), slot.ancestor) if isinstance(e, Tokens)]
    if mapped:
        known = [row for row in known if all(places[row] >= 0 for places in mapped)]
    elif len(slot.shape) < 2 or len(known) <= count:
        return [range(len(known))]
    count = min(count, len(known))
    chosen = [known[(2 * index + 1) * len(known) // (2 * count)] for index in range(count)]
    return [range(row, row + 1) for row in chosen]


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """As float32; values that are not finite count as 0, as in sketches."""
    return torch.cat([part.reshape(len(part), -1).float() for part in parts]).nan_to_num_(0.0, 0.0, 0.0)
