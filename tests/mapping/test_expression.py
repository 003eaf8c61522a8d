"""Expressions by rows, against whole-tensor NumPy."""

import json
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.mapping.expression import (
    Concat,
    Expression,
    Mean,
    Read,
    Slice,
    Tokens,
    evaluate_rows,
    from_tree,
    names_in,
    shape_of,
    to_tree,
)
from adamms.mapping.simplify import join, take

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
        case Tokens(source, rows):
            assert target is not None
            donor = whole(source, tensors)
            return np.stack([donor[row] if row >= 0 else target[i] for i, row in enumerate(rows)])


@dataclass(frozen=True)
class Case:
    tensors: Arrays
    expression: Expression
    target: Array

    @property
    def stored(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(value).float() for name, value in self.tensors.items()}

    def rows(self, start: int, stop: int) -> torch.Tensor:
        target = torch.from_numpy(self.target).float()
        return evaluate_rows(self.expression, self.stored, start, stop, target)


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
    kind = draw(st.sampled_from(["read", "slice", "concat", "mean"])) if depth else "read"
    if kind == "read":
        return Read(draw(st.sampled_from(sorted(tensors))))
    if kind == "slice":
        source = draw(expressions(tensors, depth - 1))
        shape = whole(source, tensors).shape
        dim = draw(st.integers(0, len(shape) - 1))
        start = draw(st.integers(0, shape[dim] - 1))
        return Slice(source, dim, start, draw(st.integers(start + 1, shape[dim])))
    parts = draw(st.lists(expressions(tensors, depth - 1), min_size=1, max_size=3))
    shapes = [whole(part, tensors).shape for part in parts]
    common = tuple(map(min, zip(*shapes, strict=True)))
    if kind == "mean":
        return Mean(tuple(crop(part, shape, common) for part, shape in zip(parts, shapes, strict=True)))
    dim = draw(st.integers(0, len(common) - 1))
    cropped = []
    for part, shape in zip(parts, shapes, strict=True):
        cropped.append(crop(part, shape, (*common[:dim], shape[dim], *common[dim + 1 :])))
    return Concat(tuple(cropped), dim)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    tensors = draw(tensors_of_one_rank())
    expression = draw(expressions(tensors))
    value = whole(expression, tensors)
    if draw(st.booleans()):
        rows = draw(st.lists(st.integers(-1, value.shape[0] - 1), min_size=1, max_size=8))
        expression = Tokens(expression, tuple(rows))
        shape = (len(rows), *value.shape[1:])
    else:
        shape = value.shape
    target = np.random.default_rng(draw(st.integers(0, 1000))).integers(-50, 50, shape).astype(np.float64)
    return Case(tensors, expression, target)


def reads(tree: object) -> list[str]:
    match tree:
        case {"read": str(name)}:
            return [name]
        case {"slice": source, "dim": int(), "start": int(), "stop": int()}:
            return reads(source)
        case {"tokens": source}:
            return reads(source)
        case {"concat": list(parts), "dim": int()} | {"mean": list(parts)}:
            return [name for part in parts for name in reads(part)]
    raise AssertionError(tree)


@given(cases(), st.data())
def test_any_split_of_rows_gives_the_whole_value_also_of_what_was_written_as_json(
    case: Case, data: st.DataObject
) -> None:
    expected = whole(case.expression, case.tensors, case.target)
    shape = shape_of(case.expression, lambda name: case.tensors[name].shape)
    assert shape == expected.shape
    at_once = case.rows(0, shape[0])
    assert at_once.shape == shape
    np.testing.assert_allclose(at_once.double().numpy(), expected, rtol=1e-14)
    cuts = data.draw(st.lists(st.integers(0, shape[0]), max_size=4).map(sorted))
    parts = [(a, b) for a, b in pairwise([0, *cuts, shape[0]]) if a < b]
    pieces = [case.rows(a, b) for a, b in parts]
    assert [len(piece) for piece in pieces] == [b - a for a, b in parts]
    assert torch.equal(torch.cat([piece.double() for piece in pieces]), at_once.double())
    # And the same expression as JSON: its reads in order, and back.
    tree = json.loads(json.dumps(to_tree(case.expression)))
    assert reads(tree) == list(names_in(case.expression))
    assert from_tree(tree) == case.expression


def test_what_is_no_expression_is_refused() -> None:
    for tree in (
        {},
        {"read": 1},
        {"slice": {"read": "w"}},
        {"mean": [{"reed": "w"}]},
        {"tokens": {"read": "w"}},
    ):
        with pytest.raises(AdammsError, match="not an expression of a plan"):
            from_tree(tree)


@given(tensors_of_one_rank(), st.data())
def test_join_keeps_the_value(tensors: Arrays, data: st.DataObject) -> None:
    rank = tensors["a"].ndim
    dim = data.draw(st.integers(0, rank - 1))
    source = tensors["a"]
    parts: list[Expression] = []
    for _ in range(data.draw(st.integers(1, 4))):
        along = data.draw(st.sampled_from([dim, dim, dim, *range(rank)]))
        start = data.draw(st.integers(0, source.shape[along] - 1))
        part = Slice(Read("a"), along, start, data.draw(st.integers(start + 1, source.shape[along])))
        whole_part = whole(part, tensors)
        fits = all(whole_part.shape[d] == source.shape[d] for d in range(rank) if d != dim)
        parts.append(part if fits else Read("a"))
    joined = join(tuple(parts), dim, lambda name: tensors[name].shape)
    np.testing.assert_array_equal(whole(joined, tensors), whole(Concat(tuple(parts), dim), tensors))


@given(tensors_of_one_rank(), st.data())
def test_take_is_a_slice(tensors: Arrays, data: st.DataObject) -> None:
    expression = data.draw(expressions(tensors))
    shapes = whole(expression, tensors).shape
    dim = data.draw(st.integers(0, len(shapes) - 1))
    start = data.draw(st.integers(0, shapes[dim] - 1))
    stop = data.draw(st.integers(start + 1, shapes[dim]))
    taken = take(expression, dim, start, stop, lambda name: tensors[name].shape)
    np.testing.assert_array_equal(whole(taken, tensors), whole(Slice(expression, dim, start, stop), tensors))


def test_take_comes_down_to_the_simplest_expression() -> None:
    shapes = {"w": (6, 4), "v": (3, 4)}
    w, v = Read("w"), Read("v")

    def taken(expression: Expression, start: int, stop: int, dim: int = 0) -> Expression:
        return take(expression, dim, start, stop, shapes.__getitem__)

    assert taken(w, 0, 6) == w
    assert taken(w, 1, 3) == Slice(w, 0, 1, 3)
    assert taken(Slice(w, 0, 2, 6), 1, 3) == Slice(w, 0, 3, 5)
    assert taken(Slice(w, 0, 2, 6), 1, 3, dim=1) == Slice(Slice(w, 0, 2, 6), 1, 1, 3)
    assert taken(Concat((w, v), 0), 6, 9) == v
    assert taken(Concat((w, v), 0), 4, 8) == Concat((Slice(w, 0, 4, 6), Slice(v, 0, 0, 2)), 0)
    assert taken(Concat((Slice(w, 0, 2, 4), Slice(w, 0, 4, 6)), 0), 1, 3) == Slice(w, 0, 3, 5)
    for start, stop in ((-1, 2), (2, 7), (3, 2)):
        with pytest.raises(ValueError, match=r"slice \[-?\d:\d\] of dimension 0 of \(6, 4\)"):
            taken(w, start, stop)


def test_join_flattens_what_is_concatenated_along_the_same_dimension() -> None:
    shapes = {"w": (6, 4), "v": (3, 4)}
    w, v = Read("w"), Read("v")
    inner = Concat((v, Slice(w, 0, 0, 2)), 0)
    assert join((inner, Slice(w, 0, 2, 6)), 0, shapes.__getitem__) == Concat((v, w), 0)


def test_join_comes_down_to_the_simplest_expression() -> None:
    shapes = {"w": (6, 4), "v": (6, 4)}

    def joined(*parts: Expression) -> Expression:
        return join(parts, 0, shapes.__getitem__)

    w = Read("w")
    assert joined(w) == w
    assert joined(Slice(w, 0, 0, 2), Slice(w, 0, 2, 4), Slice(w, 0, 4, 6)) == w
    assert joined(Slice(w, 0, 1, 2), Slice(w, 0, 2, 4)) == Slice(w, 0, 1, 4)
    assert joined(Slice(w, 0, 2, 4), Slice(w, 0, 0, 2)) == Concat((Slice(w, 0, 2, 4), Slice(w, 0, 0, 2)), 0)
    assert joined(w, Read("v")) == Concat((w, Read("v")), 0)
    other = (Slice(w, 1, 0, 2), Slice(w, 0, 2, 4))  # of two dimensions: not neighbours
    assert joined(*other) == Concat(other, 0)


def test_reads_and_slices_are_views_of_the_stored_tensor() -> None:
    stored = {"w": torch.randn(6, 4)}
    target = torch.zeros(3, 2)
    rows = evaluate_rows(Slice(Slice(Read("w"), 0, 2, 5), 1, 1, 3), stored, 1, 3, target)
    assert torch.equal(rows, stored["w"][3:5, 1:3])
    assert rows.untyped_storage().data_ptr() == stored["w"].untyped_storage().data_ptr()


def test_tokens_count_their_matches() -> None:
    assert Tokens(Read("w"), (0, -1, 3, 3, -1)).matched == 3


def test_shapes_that_do_not_fit_are_an_error() -> None:
    for expression in [
        Slice(Read("w"), 0, 0, 7),
        Slice(Read("w"), 1, 3, 2),
        Slice(Read("w"), 0, -1, 2),
        Concat((Read("w"), Read("x")), 0),
        Mean((Read("w"), Read("x"))),
    ]:
        shapes = {"w": (6, 4), "x": (6, 5)}
        with pytest.raises(ValueError, match=r"slice|concatenate|average"):
            shape_of(expression, shapes.__getitem__)
