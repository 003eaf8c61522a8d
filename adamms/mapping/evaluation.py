"""The values of expressions, for a range of rows at a time, so that no whole tensor is ever copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamms.checkpoint.quantised.quantised import Rows
from adamms.mapping.expression import (
    Concat,
    Expression,
    Interleave,
    Mean,
    Pick,
    Read,
    Shape,
    Slice,
    Stack,
    Tokens,
    Transpose,
    met_parts,
    runs,
    shape_of,
)
from adamms.system.on_demand import torch


def evaluate_rows(
    expression: Expression, tensors: Mapping[str, Rows], start: int, stop: int, target: Rows
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

    def value(part: Expression, first: int = start, last: int = stop) -> torch.Tensor:
        return evaluate_rows(part, tensors, first, last, target)

    match expression:
        case Read(name):
            return tensors[name][start:stop]
        case Slice(source, 0, first, _):
            return value(source, first + start, first + stop)
        case Slice(source, dim, first, last):
            return value(source).narrow(dim, first, last - first)
        case Concat(parts, 0):
            lengths = (_stored_shape(part, tensors)[0] for part in parts)
            pieces = [value(*met) for met in met_parts(parts, lengths, start, stop)]
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        case Concat(parts, dim):
            return torch.cat([value(part) for part in parts], dim)
        case Mean(parts):
            return torch.stack([value(part).double() for part in parts]).mean(0)
        case Stack(parts):
            length = _stored_shape(parts[0], tensors)[0]
            stacked = [value(part, 0, length) for part in parts[start:stop]]
            return stacked[0].unsqueeze(0) if len(stacked) == 1 else torch.stack(stacked)
        case Pick(source, index):
            return value(source, index, index + 1)[0][start:stop]
        case Transpose(source) if (shape := _stored_shape(source, tensors)) and len(shape) == 2:
            return value(source, 0, shape[0])[:, start:stop].T
        case Transpose(source):
            return value(source).transpose(-1, -2)
        case Interleave(source, size, parts):
            first = start // size * size
            heads = value(source, first, -(-stop // size) * size)
            return interleaved(heads, size, parts)[start - first : stop - first]
        case Tokens(source, rows):
            pieces = [target[start:start].double()]
            for first, length in runs(rows[start:stop]):
                found = target[start : start + length] if first < 0 else value(source, first, first + length)
                pieces.append(found.double())
                start += length
            return torch.cat(pieces)


def interleaved(values: Any, size: int, parts: int) -> Any:
    """The rows of `values` (R, ...), a tensor or an array, as `Interleave` deals them.

    >>> interleaved(torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]), size=4, parts=2)
    tensor([0, 2, 1, 3, 4, 6, 5, 7])
    """
    return values.reshape(-1, parts, size // parts, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _stored_shape(expression: Expression, tensors: Mapping[str, Rows]) -> Shape:
    return shape_of(expression, lambda name: tuple(tensors[name].shape))
