"""Expressions over a donor's tensors, whose value has the shape of one target tensor.

A small frozen tree: read, slice, concatenate, average, stack, pick from a stack, transpose, and align rows
by token. Shapes follow from headers; `evaluation` has the values. Knows nothing of roles, architectures or
merging. A fused target tensor, for example:

>>> fused = Concat((Read("q_proj.weight"), Slice(Read("kv.weight"), 0, 0, 64)), dim=0)
>>> shape_of(fused, {"q_proj.weight": (128, 32), "kv.weight": (128, 32)}.__getitem__)
(192, 32)
>>> from_tree(to_tree(fused)) == fused
True
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from adamms.errors import AdammsError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Read:
    """The donor's tensor `name`."""

    name: Annotated[str, Field(alias="read")]


@dataclass(frozen=True)
class Slice:
    """`source[start:stop]` along `dim`."""

    source: Annotated["Expression", Field(alias="slice")]
    dim: int
    start: int
    stop: int


@dataclass(frozen=True)
class Concat:
    """`parts` one after the other along `dim`."""

    parts: Annotated[tuple["Expression", ...], Field(alias="concat")]
    dim: int


@dataclass(frozen=True)
class Mean:
    """The elementwise mean of `parts`, which have one shape."""

    parts: Annotated[tuple["Expression", ...], Field(alias="mean")]


@dataclass(frozen=True)
class Stack:
    """`parts`, which have one shape, along a new first dimension: experts in one tensor."""

    parts: Annotated[tuple["Expression", ...], Field(alias="stack")]


@dataclass(frozen=True)
class Pick:
    """`source[index]`, without its first dimension: one expert of a stack."""

    source: Annotated["Expression", Field(alias="pick")]
    index: int


@dataclass(frozen=True)
class Transpose:
    """`source` with its last two dimensions exchanged."""

    source: Annotated["Expression", Field(alias="transpose")]


@dataclass(frozen=True)
class Interleave:
    """Heads of `size` rows dealt from `parts` runs: (n, parts, size / parts) -> (n, size / parts, parts).

    Used where a rotary embedding turns halves of a head in one model and neighbours in the other.
    """

    source: Annotated["Expression", Field(alias="interleave")]
    size: int
    parts: int


def _rows_text(rows: tuple[int, ...]) -> str:
    """Rows of `Tokens` in brief: `0:3 -2 7:8` is (0, 1, 2, -1, -1, 7)."""
    return " ".join(
        f"-{length}" if first < 0 else f"{first}:{first + length}" for first, length in runs(rows)
    )


def _rows_of(text: object) -> tuple[int, ...]:
    """The rows that `_rows_text` wrote."""
    if not isinstance(text, str):
        raise ValueError("rows are a text")
    rows: list[int] = []
    for run in text.split():
        first, colon, stop = run.partition(":")
        rows += range(int(first), int(stop)) if colon else [-1] * -int(first)
    return tuple(rows)


def runs(rows: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(first, length) of the longest stretches of neighbouring source rows, or of rows without one (-1)."""
    for _, run in groupby(enumerate(rows), lambda item: None if item[1] < 0 else item[1] - item[0]):
        (_, first), *others = run
        yield first, 1 + len(others)


@dataclass(frozen=True)
class Tokens:
    """Rows of `source` in the target's order: row r is `source[rows[r]]`, or the target's own if -1.

    Used for embeddings and heads, whose rows belong to tokens.
    """

    source: Annotated["Expression", Field(alias="tokens")]
    rows: Annotated[tuple[int, ...], BeforeValidator(_rows_of), PlainSerializer(_rows_text)]

    @property
    def matched(self) -> int:
        """How many rows come from the source."""
        return sum(row >= 0 for row in self.rows)


Expression = Read | Slice | Concat | Mean | Stack | Pick | Transpose | Interleave | Tokens
_TREES: TypeAdapter[Expression] = TypeAdapter(Expression)


def shape_of(expression: Expression, shape: Callable[[str], Shape]) -> Shape:
    """The shape of the value, from the shapes of the tensors read; ValueError if parts disagree."""
    if isinstance(expression, Read):
        return shape(expression.name)
    (first, *others) = shapes = [shape_of(part, shape) for part in parts_of(expression)]
    match expression:
        case Slice(_, dim, start, stop):
            check_range(start, stop, dim, first)
            return _resized(first, dim, stop - start)
        case Concat(_, dim):
            if len({_resized(found, dim, 0) for found in shapes}) != 1:
                raise ValueError(f"cannot concatenate {shapes} along dimension {dim}")
            return _resized(first, dim, sum(found[dim] for found in shapes))
        case Mean():
            if any(other != first for other in others):
                raise ValueError(f"cannot average shapes {shapes}")
            return first
        case Stack():
            if any(other != first for other in others):
                raise ValueError(f"cannot stack shapes {shapes}")
            return (len(shapes), *first)
        case Pick(_, index):
            if len(first) < 2 or not 0 <= index < first[0]:
                raise ValueError(f"cannot pick {index} of {first}")
            return first[1:]
        case Transpose():
            if len(first) < 2:
                raise ValueError(f"cannot transpose {first}")
            return (*first[:-2], first[-1], first[-2])
        case Interleave(_, size, parts):
            if size < 1 or parts < 1 or size % parts or first[0] % size:
                raise ValueError(f"cannot interleave {first} in heads of {size} rows and {parts} parts")
            return first
        case Tokens(_, rows):
            return _resized(first, 0, len(rows))


def parts_of(expression: Expression) -> tuple[Expression, ...]:
    """The expressions that it is made of."""
    match expression:
        case Read():
            return ()
        case Slice(source) | Pick(source) | Transpose(source) | Interleave(source) | Tokens(source):
            return (source,)
        case Concat(parts) | Mean(parts) | Stack(parts):
            return parts


def names_in(expression: Expression) -> Iterator[str]:
    """The tensors that the expression reads, in order, repeated when read repeatedly."""
    if isinstance(expression, Read):
        yield expression.name
    for part in parts_of(expression):
        yield from names_in(part)


def to_tree(expression: Expression) -> dict[str, Any]:
    """The expression as plan.json writes it; `from_tree` reads it back."""
    tree: dict[str, Any] = _TREES.dump_python(expression, mode="json", by_alias=True)
    return tree


def from_tree(tree: Mapping[str, Any]) -> Expression:
    """The expression that `to_tree` wrote.

    Raises:
        AdammsError: anything else.
    """
    try:
        return _TREES.validate_python(tree)
    except ValidationError as error:
        raise AdammsError(f"not an expression of a plan: {str(tree)[:120]}") from error


def check_range(start: int, stop: int, dim: int, shape: Shape) -> None:
    if not 0 <= start <= stop <= shape[dim]:
        raise ValueError(f"slice [{start}:{stop}] of dimension {dim} of {shape}")


def _resized(shape: Shape, dim: int, size: int) -> Shape:
    return (*shape[:dim], size, *shape[dim + 1 :])


def met_parts(
    parts: Sequence[Expression], sizes: Iterable[int], start: int, stop: int
) -> Iterator[tuple[Expression, int, int]]:
    """Those of the parts, one after the other, that `start:stop` meets: (part, start, stop within it)."""
    for part, size in zip(parts, sizes, strict=True):
        if max(start, 0) < min(stop, size):
            yield part, max(start, 0), min(stop, size)
        start, stop = start - size, stop - size
