"""Expressions over a donor's tensors, whose value has the shape of one target tensor.

A small frozen tree: read, slice, concatenate, average, and align rows by token. Shapes follow from
headers; values are computed for a range of rows at a time, so that no whole tensor is ever copied.
Knows nothing of roles, architectures or merging. A fused target tensor, for example:

>>> fused = Concat((Read("q_proj.weight"), Slice(Read("kv.weight"), 0, 0, 64)), dim=0)
>>> to_text(fused)
'concat(q_proj.weight, kv.weight[0:64])'
>>> shape_of(fused, {"q_proj.weight": (128, 32), "kv.weight": (128, 32)}.__getitem__)
(192, 32)
>>> from_tree(to_tree(fused)) == fused
True
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adamms.checkpoint.reader import Rows
from adamms.errors import AdammsError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Read:
    """The donor's tensor `name`."""

    name: str


@dataclass(frozen=True)
class Slice:
    """`source[start:stop]` along `dim`."""

    source: "Expression"
    dim: int
    start: int
    stop: int


@dataclass(frozen=True)
class Concat:
    """`parts` one after the other along `dim`."""

    parts: tuple["Expression", ...]
    dim: int


@dataclass(frozen=True)
class Mean:
    """The elementwise mean of `parts`, which have one shape."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class Tokens:
    """Rows of `source` in the target's order: row r is `source[rows[r]]`, or the target's own if -1.

    Used for embeddings and heads, whose rows belong to tokens.
    """

    source: "Expression"
    rows: tuple[int, ...]

    @property
    def matched(self) -> int:
        """How many rows come from the source."""
        return sum(row >= 0 for row in self.rows)


Expression = Read | Slice | Concat | Mean | Tokens


def shape_of(expression: Expression, shape: Callable[[str], Shape]) -> Shape:
    """The shape of the value, from the shapes of the tensors read; ValueError if parts disagree."""
    match expression:
        case Read(name):
            return shape(name)
        case Slice(source, dim, start, stop):
            inner = shape_of(source, shape)
            if not 0 <= start <= stop <= inner[dim]:
                raise ValueError(f"slice [{start}:{stop}] of dimension {dim} of {inner}")
            return (*inner[:dim], stop - start, *inner[dim + 1 :])
        case Concat(parts, dim):
            shapes = [shape_of(part, shape) for part in parts]
            rests = {(*s[:dim], *s[dim + 1 :]) for s in shapes}
            if len(rests) != 1:
                raise ValueError(f"cannot concatenate {shapes} along dimension {dim}")
            return (*shapes[0][:dim], sum(s[dim] for s in shapes), *shapes[0][dim + 1 :])
        case Mean(parts):
            shapes = [shape_of(part, shape) for part in parts]
            if len(set(shapes)) != 1:
                raise ValueError(f"cannot average shapes {shapes}")
            return shapes[0]
        case Tokens(source, rows):
            return (len(rows), *shape_of(source, shape)[1:])


def names_in(expression: Expression) -> Iterator[str]:
    """The tensors that the expression reads, in order, repeated when read repeatedly."""
    match expression:
        case Read(name):
            yield name
        case Slice(source) | Tokens(source):
            yield from names_in(source)
        case Concat(parts) | Mean(parts):
            for part in parts:
                yield from names_in(part)


def to_tree(expression: Expression) -> dict[str, Any]:
    """The expression as plan.json writes it; `from_tree` reads it back."""
    match expression:
        case Read(name):
            return {"read": name}
        case Slice(source, dim, start, stop):
            return {"slice": to_tree(source), "dim": dim, "start": start, "stop": stop}
        case Concat(parts, dim):
            return {"concat": [to_tree(part) for part in parts], "dim": dim}
        case Mean(parts):
            return {"mean": [to_tree(part) for part in parts]}
        case Tokens(source, rows):
            return {"tokens": to_tree(source), "rows": _rows_text(rows)}


def from_tree(tree: Mapping[str, Any]) -> Expression:
    """The expression that `to_tree` wrote.

    Raises:
        AdammsError: anything else.
    """
    match tree:
        case {"read": str(name)}:
            return Read(name)
        case {"slice": source, "dim": int(dim), "start": int(start), "stop": int(stop)}:
            return Slice(from_tree(source), dim, start, stop)
        case {"concat": list(parts), "dim": int(dim)}:
            return Concat(tuple(map(from_tree, parts)), dim)
        case {"mean": list(parts)}:
            return Mean(tuple(map(from_tree, parts)))
        case {"tokens": source, "rows": str(text)}:
            return Tokens(from_tree(source), _rows_of(text))
    raise AdammsError(f"not an expression of a plan: {str(tree)[:120]}")


def to_text(expression: Expression) -> str:
    """The expression in a line, for people: `concat(q, k[0:64])`."""
    match expression:
        case Read(name):
            return name
        case Slice(source, dim, start, stop):
            return f"{to_text(source)}[{':, ' * dim}{start}:{stop}]"
        case Concat(parts, dim):
            along = f", dim={dim}" if dim else ""
            return f"concat({', '.join(to_text(part) for part in parts)}{along})"
        case Mean(parts):
            return f"mean({', '.join(to_text(part) for part in parts)})"
        case Tokens(source):
            return f"tokens({to_text(source)})"


def join(parts: Sequence[Expression], dim: int, shape: Callable[[str], Shape]) -> Expression:
    """`Concat`, or what it comes down to: neighbouring slices of one source become one slice."""
    joined: list[Expression] = []
    for part in _flattened(parts, dim):
        last = joined[-1] if joined else None
        if (
            isinstance(part, Slice)
            and isinstance(last, Slice)
            and (part.source, part.dim, last.dim, part.start) == (last.source, dim, dim, last.stop)
        ):
            joined[-1] = Slice(last.source, dim, last.start, part.stop)
        else:
            joined.append(part)
    found = tuple(_unsliced(part, shape) for part in joined)
    return found[0] if len(found) == 1 else Concat(found, dim)


def take(
    expression: Expression, dim: int, start: int, stop: int, shape: Callable[[str], Shape]
) -> Expression:
    """`Slice`, or what it comes down to: the whole, a slice of the slice, or of the parts that it meets."""
    length = shape_of(expression, shape)[dim]
    if not 0 <= start <= stop <= length:
        raise ValueError(f"slice [{start}:{stop}] of dimension {dim} of {shape_of(expression, shape)}")
    if stop - start == length:
        return expression
    match expression:
        case Slice(source, d, first, _) if d == dim:
            return Slice(source, dim, first + start, first + stop)
        case Concat(parts, d) if d == dim:
            pieces = []
            position = 0
            for part in parts:
                size = shape_of(part, shape)[dim]
                first, last = max(start - position, 0), min(stop - position, size)
                if first < last:
                    pieces.append(take(part, dim, first, last, shape))
                position += size
            return join(pieces, dim, shape)
    return Slice(expression, dim, start, stop)


def evaluate_rows(
    expression: Expression,
    tensors: Mapping[str, Rows],
    start: int,
    stop: int,
    target: Rows,
) -> torch.Tensor:
    """Rows `start:stop` (dimension 0) of the expression's value.

    Args:
        expression: what to compute.
        tensors: the tensors that it reads, by name.
        start, stop: the rows wanted of the value.
        target: the target tensor, whose own rows stand where `Tokens` has no donor row.

    Returns:
        A tensor of shape (stop - start, ...): a view of the stored tensors where that is possible,
        float64 where values had to be mixed.
    """
    match expression:
        case Read(name):
            return tensors[name][start:stop]
        case Slice(source, 0, first, _):
            return evaluate_rows(source, tensors, first + start, first + stop, target)
        case Slice(source, dim, first, last):
            return evaluate_rows(source, tensors, start, stop, target).narrow(dim, first, last - first)
        case Concat(parts, 0):
            return _concatenated_rows(parts, tensors, start, stop, target)
        case Concat(parts, dim):
            return torch.cat([evaluate_rows(part, tensors, start, stop, target) for part in parts], dim)
        case Mean(parts):
            values = [evaluate_rows(part, tensors, start, stop, target).double() for part in parts]
            return torch.stack(values).mean(0)
        case Tokens(source, rows):
            return _token_rows(source, rows[start:stop], tensors, target[start:stop])


def _unsliced(expression: Expression, shape: Callable[[str], Shape]) -> Expression:
    match expression:
        case Slice(source, dim, 0, stop) if stop == shape_of(source, shape)[dim]:
            return source
    return expression


def _flattened(parts: Sequence[Expression], dim: int) -> Iterator[Expression]:
    for part in parts:
        match part:
            case Concat(inner, d) if d == dim:
                yield from _flattened(inner, dim)
            case _:
                yield part


def _concatenated_rows(
    parts: tuple[Expression, ...],
    tensors: Mapping[str, Rows],
    start: int,
    stop: int,
    target: Rows,
) -> torch.Tensor:
    pieces = []
    position = 0
    for part in parts:
        (length, *_) = shape_of(part, lambda name: tuple(tensors[name].shape))
        first, last = max(start - position, 0), min(stop - position, length)
        if first < last:
            pieces.append(evaluate_rows(part, tensors, first, last, target))
        position += length
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _token_rows(
    source: Expression, rows: tuple[int, ...], tensors: Mapping[str, Rows], own: torch.Tensor
) -> torch.Tensor:
    pieces = []
    position = 0
    for first, length in _runs(rows):
        if first < 0:
            pieces.append(own[position : position + length])
        else:
            pieces.append(evaluate_rows(source, tensors, first, first + length, own))
        position += length
    return torch.cat([piece.double() for piece in pieces]) if pieces else own[:0].double()


def _rows_text(rows: tuple[int, ...]) -> str:
    """Rows of `Tokens` in brief: `0:3 -2 7:8` is (0, 1, 2, -1, -1, 7)."""
    return " ".join(
        f"-{length}" if first < 0 else f"{first}:{first + length}" for first, length in _runs(rows)
    )


def _rows_of(text: str) -> tuple[int, ...]:
    rows: list[int] = []
    for run in text.split():
        first, colon, stop = run.partition(":")
        rows += range(int(first), int(stop)) if colon else [-1] * -int(first)
    return tuple(rows)


def _runs(rows: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(first, length) of the longest stretches of neighbouring source rows, or of rows without one (-1)."""
    start = 0
    for position in range(1, len(rows) + 1):
        follows = position < len(rows) and rows[position] == (
            -1 if rows[start] < 0 else rows[start] + position - start
        )
        if not follows:
            yield rows[start], position - start
            start = position
