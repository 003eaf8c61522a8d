"""Expressions put together and taken apart, as the simplest expression of the same value.

Works on expressions and the shapes of what they read. Knows nothing of weights, roles or architectures.
"""

from collections.abc import Callable, Iterator, Sequence

from adamms.mapping.expression import (
    Concat,
    Expression,
    Shape,
    Slice,
    check_range,
    met_parts,
    shape_of,
)


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


def _unsliced(expression: Expression, shape: Callable[[str], Shape]) -> Expression:
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
