"""Fused tensors taken apart and put together: where each part's rows lie in the whole.

Fills a checkpoint's numbers into what a spec says of a fusion; knows nothing of a second model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from adamms.architectures.label import Fused, Stacked
from adamms.architectures.roles import Role
from adamms.errors import AdammsError
from adamms.mapping.checks.language_config import HIDDEN, nested_parts
from adamms.mapping.expression import Expression, Shape
from adamms.mapping.plan import Experts
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

    def split(self, whole: Expression, shape: Shapes) -> tuple[Expression, ...]:
        """Each part of `whole`, as an expression over it."""
        shares = [size // self.groups for size in self.sizes]
        group = sum(shares)
        found = []
        for index, share in enumerate(shares):
            first = sum(shares[:index])
            starts = [g * group + first for g in range(self.groups)]
            found.append(join([take(whole, self.dim, s, s + share, shape) for s in starts], self.dim, shape))
        return tuple(found)

    def fuse(self, parts: Sequence[Expression], shape: Shapes) -> Expression:
        """The whole, from one expression per part, each of its part's size along `dim`."""
        shares = [size // self.groups for size in self.sizes]
        pieces = [
            take(part, self.dim, g * share, (g + 1) * share, shape)
            for g in range(self.groups)
            for part, share in zip(parts, shares, strict=True)
        ]
        return join(pieces, self.dim, shape)


def layout_of(fused: Fused, shape: Shape, config: Mapping[str, Any]) -> Layout:
    """The layout that `fused` means for a tensor of this shape, in a checkpoint with this config.json.

    Raises:
        AdammsError: a number that config.json lacks, or a shape that does not divide as they say.
    """
    weights = [_number(size, config) for size in fused.sizes or (1,) * len(fused.parts)]
    groups = _number(fused.groups, config)
    total = sum(weights)
    size = shape[fused.dim] if fused.dim < len(shape) else 0
    sizes = tuple(size * weight // total for weight in weights)
    if size == 0 or size % total or any(part % groups for part in sizes):
        ratio = ":".join(map(str, weights))
        parts = "equal parts" if len(set(weights)) == 1 else f"parts as {ratio}"
        inside = "" if groups == 1 else f" in {groups} groups"
        raise AdammsError(
            f"has shape {shape}; expected dimension {fused.dim} to divide into {len(weights)} {parts}{inside}"
        )
    return Layout(fused.parts, fused.dim, sizes, groups)


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
        """The same for a plan."""
        return Experts(self.transposed, self.each.sizes, self.each.groups)

    def shapes(self, whole: Shape) -> tuple[Shape, ...]:
        """Each part's shape in a tensor of the shape `whole`."""
        return self.each.shapes(_turned(whole[1:], self.transposed)) * self.count

    def split(self, whole: Expression, shape: Shapes) -> tuple[Expression, ...]:
        """Each part of `whole`, as an expression over it."""
        found: list[Expression] = []
        for index in range(self.count):
            one = pick(whole, index, shape)
            found += self.each.split(transpose(one) if self.transposed else one, shape)
        return tuple(found)

    def fuse(self, parts: Sequence[Expression], shape: Shapes) -> Expression:
        """The whole, from one expression per part."""
        width = len(self.each.parts)
        matrices = [
            self.each.fuse(parts[first : first + width], shape) for first in range(0, len(parts), width)
        ]
        return stack([transpose(one) if self.transposed else one for one in matrices], shape)


def stacked_layout(
    stacked: Stacked, shape: Shape, config: Mapping[str, Any], transposed: bool
) -> StackedLayout:
    """The layout that `stacked` means for a tensor of this shape, in a checkpoint with this config.json.

    Raises:
        AdammsError: as of `layout_of`, for the shape of one expert.
    """
    one = _turned(shape[1:], transposed)
    if isinstance(stacked.each, Fused):
        layout = layout_of(stacked.each, one, config)
    else:
        layout = Layout((stacked.each,), 0, one[:1])
    return StackedLayout(layout, shape[0], transposed)


def is_transposed(stacked: Stacked, shape: Shape, config: Mapping[str, Any]) -> bool | None:
    """Whether the matrices of a stacked tensor are stored as (in, out); None where the shape does not tell.

    The hidden size is what experts' gate and up projections read, and what their down projections write.

    Raises:
        AdammsError: a tensor of another rank, or neither side of the matrices has the hidden size.
    """
    parts = stacked.each.parts if isinstance(stacked.each, Fused) else (stacked.each,)
    wanted = 2 if parts[0].part == "bias" else 3
    if len(shape) != wanted:
        raise AdammsError(f"has shape {shape}; expected {wanted} dimensions, the first of them the experts")
    if wanted == 2:
        return False
    hidden = next((size for key in HIDDEN for size in settings(config, key) if isinstance(size, int)), None)
    if hidden is not None and hidden not in shape[1:]:
        raise AdammsError(
            f"has shape {shape}; expected the hidden size {hidden} (config.json) as one of the last two sizes"
        )
    if hidden is None or shape[1] == shape[2]:
        return None
    return shape[2 if parts[0].kind == "moe.expert.down" else 1] == hidden


def _turned(matrix: Shape, transposed: bool) -> Shape:
    return matrix[::-1] if transposed else matrix


def settings(config: Mapping[str, Any], key: str) -> list[Any]:
    """What config.json says of its language model under `key`: nested first, then at the top.

    Multimodal configs say it in either place or in both, not always in agreement.
    """
    return [part[key] for part in reversed(nested_parts(config)) if part.get(key) is not None]


def _number(given: int | str, config: Mapping[str, Any]) -> int:
    if isinstance(given, int):
        return given
    found = next((value for value in settings(config, given) if isinstance(value, int)), 0)
    if found < 1:
        raise AdammsError(f"needs {given} for its layout, and config.json gives no such number")
    return found
