"""Several roles in one tensor, taken apart and put together: where each part's rows lie in the whole.

Knows shapes and expressions, neither specs nor checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from adamms.architectures.roles import Role
from adamms.mapping.expression import Expression, Shape
from adamms.mapping.simplify import Shapes, join, pick, stack, take, transpose


@dataclass(frozen=True)
class Layout:
    """How the parts of one fused tensor lie in it.

    Along `dim` come `groups` groups; each holds, part after part, its equal share of that part.

    Args:
        parts: the roles, in the order in which they come within a group.
        dim: the dimension along which they are fused.
        sizes: each part's size along `dim`, over all groups.
        groups: their number; 1 when every part is in one piece.
    """

    parts: tuple[Role, ...]
    dim: int
    sizes: tuple[int, ...]
    groups: int = 1

    def shapes(self, whole: Shape) -> tuple[Shape, ...]:
        """Each part's shape in a tensor of the shape `whole`."""
        return tuple((*whole[: self.dim], size, *whole[self.dim + 1 :]) for size in self.sizes)

    def rows(self, index: int) -> tuple[range, ...]:
        """Where the part's rows (positions along `dim`) lie in the whole, group by group."""
        shares = [size // self.groups for size in self.sizes]
        first, group = sum(shares[:index]), sum(shares)
        starts = (g * group + first for g in range(self.groups))
        return tuple(range(start, start + shares[index]) for start in starts)

    def split(self, whole: Expression, shape: Shapes) -> tuple[Expression, ...]:
        """Each part of `whole`, as an expression over it."""

        def part(index: int) -> Expression:
            pieces = [take(whole, self.dim, each.start, each.stop, shape) for each in self.rows(index)]
            return join(pieces, self.dim, shape)

        return tuple(part(index) for index in range(len(self.sizes)))

    def fuse(self, parts: Sequence[Expression], shape: Shapes) -> Expression:
        """The whole, from one expression per part, each of its part's size along `dim`."""
        shares = [size // self.groups for size in self.sizes]
        pieces = [
            take(part, self.dim, g * share, (g + 1) * share, shape)
            for g in range(self.groups)
            for part, share in zip(parts, shares, strict=True)
        ]
        return join(pieces, self.dim, shape)


@dataclass(frozen=True)
class Experts:
    """How the experts of a layer lie in one tensor, each of them a matrix (or a bias) along dimension 0.

    Args:
        transposed: whether the matrices are stored as (in, out); else as a linear layer stores them.
        sizes: the rows (out) of each part, such as gate and up, over all groups.
        groups: in how many groups the rows lie, each with its share of every part.
    """

    transposed: bool
    sizes: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class StackedLayout:
    """How all experts of a layer lie in one tensor, along its first dimension.

    Args:
        each: how the parts of one expert's matrix lie in it, as a linear layer stores it, (out, in).
        count: the number of experts.
        transposed: whether the matrices are stored as (in, out).
    """

    each: Layout
    count: int
    transposed: bool

    @cached_property
    def parts(self) -> tuple[Role, ...]:
        """The roles, expert by expert."""
        return tuple(replace(role, expert=e) for e in range(self.count) for role in self.each.parts)

    @property
    def experts(self) -> Experts:
        """The same without the roles, for a plan."""
        return Experts(self.transposed, self.each.sizes, self.each.groups)

    def shapes(self, whole: Shape) -> tuple[Shape, ...]:
        """Each part's shape in a tensor of the shape `whole`."""
        return self.each.shapes(turned(whole[1:], self.transposed)) * self.count

    def split(self, whole: Expression, shape: Shapes) -> tuple[Expression, ...]:
        """Each part of `whole`, as an expression over it."""
        experts = range(self.count)
        return tuple(part for expert in experts for part in self.matrices(whole, expert, shape))

    def matrices(self, whole: Expression, expert: int, shape: Shapes) -> tuple[Expression, ...]:
        """The parts of one expert, as a linear layer stores them."""
        one = pick(whole, expert, shape)
        return self.each.split(transpose(one) if self.transposed else one, shape)

    def fuse(self, parts: Sequence[Expression], shape: Shapes) -> Expression:
        """The whole, from one expression per part."""
        width = len(self.each.parts)
        matrices = [
            self.each.fuse(parts[first : first + width], shape) for first in range(0, len(parts), width)
        ]
        return stack([transpose(one) if self.transposed else one for one in matrices], shape)


def turned(matrix: Shape, transposed: bool) -> Shape:
    """The shape of an expert's matrix, between how it is stored and how a linear layer stores it."""
    return matrix[::-1] if transposed else matrix
