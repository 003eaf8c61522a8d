"""Rows of what a plan merges, read from every model where it stands: the target's and each donor's.

Reads only the rows that are asked for. Knows nothing of what they are compared for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.expression import Expression, Tokens, evaluate_rows, names_in
from adamms.mapping.plan import Slot

# No donor can have this name (`merge.recipe.check_donor_names`).
ANCESTOR = "ancestor"


@dataclass(frozen=True)
class Values:
    """The models behind a plan.

    Args:
        target: the checkpoint that slots name tensors of.
        donors: name -> checkpoint that slots' expressions read.
        ancestor: the same for the ancestor's expressions, or None.
    """

    target: Checkpoint
    donors: Mapping[str, Checkpoint]
    ancestor: Checkpoint | None = None

    def sources(self, slot: Slot) -> list[str]:
        """The donors that have a part in the slot, and the ancestor if it has one."""
        known = self.ancestor is not None and slot.ancestor is not None
        return [*slot.donors, *([ANCESTOR] if known else [])]

    def expression(self, slot: Slot, source: str) -> Expression:
        """What stands for the slot in one of its `sources`."""
        if source != ANCESTOR:
            return slot.donors[source]
        assert slot.ancestor is not None
        return slot.ancestor

    def words(self, slot: Slot, source: str) -> str:
        """The tensors that the slot reads of `source`."""
        return " + ".join(dict.fromkeys(names_in(self.expression(slot, source))))

    def target_rows(self, slot: Slot, rows: Sequence[range]) -> torch.Tensor:
        """(n, rest) float32: the target's own."""
        tensor = self.target.rows(slot.name)
        return _joined([tensor[part.start : part.stop] for part in rows])

    def rows(self, slot: Slot, source: str, rows: Sequence[range]) -> torch.Tensor:
        """(n, rest) float32: the value of the slot's expression over `source`."""
        checkpoint = self.ancestor if source == ANCESTOR else self.donors[source]
        assert checkpoint is not None
        expression = self.expression(slot, source)
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
    return torch.cat([part.reshape(len(part), -1).float() for part in parts])
