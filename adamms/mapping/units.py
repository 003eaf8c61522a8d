"""What is merged and compared by itself: a whole slot, or each matrix of a slot that holds all experts.

So an expert is the same to every method and check, however files hold it: in a tensor of its own, or in one
with all others, either way round. Knows plans, but no weights.
"""

from dataclasses import dataclass

from adamms.mapping.expression import Expression
from adamms.mapping.plan import Slot

TARGET = "target"


@dataclass(frozen=True)
class Unit:
    """A slot, or one part of one expert of a slot.

    Args:
        slot: what is merged. Of an expert it is called as its role, e.g. "layers.3.moe.expert.17.up.weight",
            and has the shape (out, in).
        tensor: the target's tensor.
        target: the unit's values, over that tensor.
        rows: where the unit's rows lie among those of the expert's matrix, as a linear layer stores it: the
            first of each run, whose length is `run`. Of a whole slot one run.
        run: the length of each run.
    """

    slot: Slot
    tensor: str
    target: Expression
    rows: tuple[int, ...] = (0,)
    run: int = 0
