"""Expressions put together and taken apart, as the simplest expression of the same value.

Works on expressions and the shapes of what they read. Knows nothing of weights, roles or architectures.
"""

from collections.abc import Callable, Iterator, Sequence

from adamms.mapping.expression import (
    Concat,
    Expression,
    Pick,
    Shape,
    Slice,
    Stack,
    Transpose,
    check_range,
    met_parts,
    parts_of,
    shape_of,
)

Shapes = Callable[[str], Shape]


def join(parts: Sequence[Expression], dim: int, shape: Shapes) -> Expression:
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


def take(expression: Expression, dim: int, start: int, stop: int, shape: Shapes) -> Expression:
    """`Slice`, or what it comes down to: the whole, a slice of the slice, or of the parts that it meets."""
    whole = shape_of(expression, shape)
    check_range(start, stop, dim, whole)
    if stop - start == whole[dim]:
        return expression
    match expression:
        case Slice(source, d, first, _) if d == dim:
            return Slice(source, dim, first + start, first + stop)
        case Concat(parts, d) if d == dim:
            sizes = (shape_of(part, shape)[dim] for part in parts)
            met = met_parts(parts, sizes, start, stop)
            return join([take(part, dim, first, last, shape) for part, first, last in met], dim, shape)
    return Slice(expression, dim, start, stop)


def stack(parts: Sequence[Expression], shape: Shapes) -> Expression:
    """`Stack`, or what it comes down to: the tensor whose experts the parts are, its slice or transpose."""
    return _stacked_already(parts, shape) or Stack(tuple(parts))


def _stacked_already(parts: Sequence[Expression], shape: Shapes) -> Expression | None:
    """The stack of `parts` as an expression over tensors that hold them stacked; None if there is none."""
    first = parts[0]
    if len({_without_sources(part) for part in parts}) > 1:
        return None
    if isinstance(first, Pick):
        indices = [part.index for part in parts if isinstance(part, Pick)]
        stop = first.index + len(parts)
        in_order = indices == [*range(first.index, stop)]
        return take(first.source, 0, first.index, stop, shape) if in_order else None
    sources = [_stacked_already(each, shape) for each in zip(*map(parts_of, parts), strict=True)]
    found = tuple(source for source in sources if source is not None)
    if not found or len(found) < len(sources):
        return None
    match first:
        case Slice(_, dim, start, stop):
            return take(found[0], dim + 1, start, stop, shape)
        case Concat(_, dim):
            return join(found, dim + 1, shape)
        case Transpose():
            return transpose(found[0])
    return None


def _without_sources(expression: Expression) -> tuple[object, ...]:
    """What an expression is, apart from what it is made of; of a `Pick` apart from its index."""
    match expression:
        case Slice(_, dim, start, stop):
            return Slice, dim, start, stop
        case Concat(parts, dim):
            return Concat, dim, len(parts)
        case Pick(source):
            return Pick, source
    return (type(expression),)


def pick(expression: Expression, index: int, shape: Shapes) -> Expression:
    """`Pick`, or what it comes down to: a part of the stack, or the same of what it is made of."""
    match expression:
        case Stack(parts):
            return parts[index]
        case Transpose(source) if len(shape_of(source, shape)) > 2:
            return transpose(pick(source, index, shape))
        case Slice(source, dim, start, stop):
            if dim == 0:
                return pick(source, start + index, shape)
            return take(pick(source, index, shape), dim - 1, start, stop, shape)
        case Concat(parts, dim) if dim:
            return join([pick(part, index, shape) for part in parts], dim - 1, shape)
    return Pick(expression, index)


def transpose(expression: Expression) -> Expression:
    """`Transpose`; of a transpose its source."""
    return expression.source if isinstance(expression, Transpose) else Transpose(expression)


def _unsliced(expression: Expression, shape: Shapes) -> Expression:
    match expression:
        case Slice(source, dim, 0, stop) if stop == shape_of(source, shape)[dim]:
            return source
    return expression


def _flattened(parts: Sequence[Expression], dim: int) -> Iterator[Expression]:
    for part in parts:
        if isinstance(part, Concat) and part.dim == dim:
            yield from _flattened(part.parts, dim)
        else:
            yield part
