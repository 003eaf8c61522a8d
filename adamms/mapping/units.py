"""What is merged and compared by itself: a whole slot, or each matrix of a slot that holds all experts.

So an expert is the same to every method and check, however files hold it: in a tensor of its own, or in one
with all others, either way round. Knows plans, but no weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from adamms.architectures.roles import roles_in
from adamms.mapping.expression import Expression, Read
from adamms.mapping.layout import Experts, Layout, StackedLayout, turned
from adamms.mapping.plan import ANCESTOR, Slot
from adamms.mapping.simplify import Shapes


@dataclass(frozen=True)
class Unit:
    """A slot, or one matrix of one expert in it.

    Args:
        slot: what is merged. An expert's is called as its role, e.g. "layers.3.moe.expert.17.up.weight", and
            has the shape (out, in), or (out,) for a bias.
        tensor: the target's tensor.
        target: the unit's values, over the target's tensors.
        expert: of a tensor that holds all experts the index of this one.
        rows: where the unit's rows lie among all rows (out) of this expert.
    """

    slot: Slot
    tensor: str
    target: Expression
    expert: int | None = None
    rows: tuple[range, ...] = ()

    def __str__(self) -> str:
        return self.tensor if self.expert is None else f"{self.tensor} ({self.slot.name})"


def units_of(slot: Slot, target: Shapes, others: Mapping[str, Shapes]) -> Iterator[Unit]:
    """The units of a slot, expert by expert.

    Args:
        slot: one that is merged.
        target: the shapes of the target's tensors.
        others: donor name, or "ancestor" -> those of its tensors.
    """
    if slot.experts is None:
        yield Unit(_named_as_expert(slot), slot.name, Read(slot.name))
        return
    layout = _layout(slot, slot.experts)
    shapes = layout.each.shapes(turned(slot.shape[1:], layout.transposed))
    sources = {**slot.donors, **({} if slot.ancestor is None else {ANCESTOR: slot.ancestor})}
    for expert in range(layout.count):
        own = layout.matrices(Read(slot.name), expert, target)
        found = {name: layout.matrices(each, expert, others[name]) for name, each in sources.items()}
        for index, role in enumerate(layout.each.parts):
            donors = {name: matrices[index] for name, matrices in found.items()}
            ancestor = donors.pop(ANCESTOR, None)
            name = str(replace(role, expert=expert))
            matrix = Slot(name, shapes[index], slot.dtype, name, donors, ancestor, lacking=slot.lacking)
            yield Unit(matrix, slot.name, own[index], expert, layout.each.rows(index))


def _layout(slot: Slot, experts: Experts) -> StackedLayout:
    layout = Layout(roles_in(slot.role), 0, experts.sizes, experts.groups)
    return StackedLayout(layout, slot.shape[0], experts.transposed)


def _named_as_expert(slot: Slot) -> Slot:
    """The slot of one expert under the name of its role: random methods draw the same in every layout."""
    if ".moe.expert." not in slot.role or len(slot.roles) != 1:
        return slot
    return replace(slot, name=slot.role)
