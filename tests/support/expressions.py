"""Any expressions over any tensors, and their values as NumPy writes them."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from adamms.mapping.expression import (
    Concat,
    Expression,
    Interleave,
    Mean,
    Pick,
    Read,
    Slice,
    Stack,
    Tokens,
    Transpose,
)

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]


def whole(expression: Expression, tensors: Arrays, target: Array | None = None) -> Array:
    """The value, written from the definitions."""
    match expression:
        case Read(name):
            return tensors[name]
        case Slice(source, dim, start, stop):
            return whole(source, tensors).take(range(start, stop), axis=dim)
        case Concat(parts, dim):
            return np.concatenate([whole(part, tensors) for part in parts], axis=dim)
        case Mean(parts):
            return np.mean([whole(part, tensors) for part in parts], axis=0)
        case Stack(parts):
            return np.stack([whole(part, tensors) for part in parts])
        case Pick(source, index):
            return whole(source, tensors)[index]
        case Transpose(source):
            return whole(source, tensors).swapaxes(-1, -2)
        case Interleave(source, size, parts):
            heads = whole(source, tensors)
            dealt = heads.reshape(-1, parts, size // parts, *heads.shape[1:]).swapaxes(1, 2)
            return dealt.reshape(heads.shape)
        case Tokens(source, rows):
            assert target is not None
            donor = whole(source, tensors)
            return np.stack([donor[row] if row >= 0 else target[i] for i, row in enumerate(rows)])


@st.composite
def tensors_of_one_rank(draw: st.DrawFn) -> Arrays:
    rank = draw(st.integers(1, 3))
    tensors = {}
    for name in ("a", "b", "c"):
        shape = draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank))
        generator = np.random.default_rng(draw(st.integers(0, 1000)))
        tensors[name] = generator.integers(-50, 50, shape).astype(np.float64)
    return tensors


def crop(expression: Expression, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Expression:
    for dim, (have, want) in enumerate(zip(shape, wanted, strict=True)):
        if have != want:
            expression = Slice(expression, dim, have - want, have)
    return expression


@st.composite
def expressions(draw: st.DrawFn, tensors: Arrays, depth: int = 3) -> Expression:
    kinds = ["read", "slice", "concat", "mean", "stack", "pick", "transpose", "interleave"]
    kind = draw(st.sampled_from(kinds)) if depth else "read"
    if kind == "read":
        return Read(draw(st.sampled_from(sorted(tensors))))
    if kind == "slice":
        source = draw(expressions(tensors, depth - 1))
        shape = whole(source, tensors).shape
        dim = draw(st.integers(0, len(shape) - 1))
        start = draw(st.integers(0, shape[dim] - 1))
        return Slice(source, dim, start, draw(st.integers(start + 1, shape[dim])))
    if kind == "interleave":
        source = draw(expressions(tensors, depth - 1))
        rows = whole(source, tensors).shape[0]
        size = draw(st.sampled_from([size for size in range(1, rows + 1) if rows % size == 0]))
        return Interleave(
            source, size, draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        )
    if kind in ("pick", "transpose"):
        source = draw(expressions(tensors, depth - 1))
        shape = whole(source, tensors).shape
        if len(shape) < 2:
            return source
        return Transpose(source) if kind == "transpose" else Pick(source, draw(st.integers(0, shape[0] - 1)))
    parts = draw(st.lists(expressions(tensors, depth - 1), min_size=1, max_size=3))
    shapes = [whole(part, tensors).shape for part in parts]
    parts = [part for part, shape in zip(parts, shapes, strict=True) if len(shape) == len(shapes[0])]
    shapes = [shape for shape in shapes if len(shape) == len(shapes[0])]
    common = tuple(map(min, zip(*shapes, strict=True)))
    if kind in ("mean", "stack"):
        alike = tuple(crop(part, shape, common) for part, shape in zip(parts, shapes, strict=True))
        return Mean(alike) if kind == "mean" else Stack(alike)
    dim = draw(st.integers(0, len(common) - 1))
    cropped = []
    for part, shape in zip(parts, shapes, strict=True):
        cropped.append(crop(part, shape, (*common[:dim], shape[dim], *common[dim + 1 :])))
    return Concat(tuple(cropped), dim)
