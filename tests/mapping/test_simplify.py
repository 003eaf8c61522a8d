"""Expressions put together: the value stays, and what can be simpler is."""

import numpy as np
import pytest
from expressions import Arrays, expressions, tensors_of_one_rank, whole
from hypothesis import given
from hypothesis import strategies as st

from adamms.mapping.expression import Concat, Expression, Pick, Read, Slice, Stack, Transpose
from adamms.mapping.simplify import join, pick, stack, take, transpose


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


# ---------------------------------------------------------------- experts

SHAPES = {"up": (3, 4, 5), "gate": (3, 4, 5), "both": (3, 8, 5), "turned": (3, 5, 8), "one": (4, 5)}


@given(tensors_of_one_rank(), st.data())
def test_pick_transpose_and_stack_keep_the_value(tensors: Arrays, data: st.DataObject) -> None:
    expression = data.draw(expressions(tensors))
    value = whole(expression, tensors)
    if value.ndim > 1:
        np.testing.assert_array_equal(whole(transpose(expression), tensors), value.swapaxes(-1, -2))
        indices = data.draw(st.lists(st.integers(0, len(value) - 1), min_size=1, max_size=4))
        indices = data.draw(st.sampled_from([indices, list(range(len(value)))]))
        parts = [pick(expression, index, lambda name: tensors[name].shape) for index in indices]
        for part, index in zip(parts, indices, strict=True):
            np.testing.assert_array_equal(whole(part, tensors), value[index])
        if value.ndim > 2 and data.draw(st.booleans()):
            parts, value = [transpose(part) for part in parts], value.swapaxes(-1, -2)
        stacked = stack(parts, lambda name: tensors[name].shape)
        np.testing.assert_array_equal(whole(stacked, tensors), value[indices])


def test_a_stack_of_all_experts_of_a_tensor_is_the_tensor() -> None:
    def stacked(*parts: Expression) -> Expression:
        return stack(parts, SHAPES.__getitem__)

    up, gate, both, turned = map(Read, ("up", "gate", "both", "turned"))
    assert stacked(*(Pick(up, e) for e in range(3))) == up
    assert stacked(*(Transpose(Pick(up, e)) for e in range(3))) == Transpose(up)
    assert stacked(*(transpose(Transpose(Pick(up, e))) for e in range(3))) == up
    assert stacked(Pick(up, 1), Pick(up, 2)) == Slice(up, 0, 1, 3)
    assert stacked(*(Slice(Pick(both, e), 0, 4, 8) for e in range(3))) == Slice(both, 1, 4, 8)
    halves = [Concat((Pick(gate, e), Pick(up, e)), 0) for e in range(3)]
    assert stacked(*halves) == Concat((gate, up), 1)
    lower = [Slice(Transpose(Pick(turned, e)), 0, 0, 4) for e in range(3)]
    assert stacked(*lower) == Slice(Transpose(turned), 1, 0, 4)
    for parts in (
        [Pick(up, 1), Pick(up, 0), Pick(up, 2)],
        [Pick(up, 0), Pick(gate, 1), Pick(up, 2)],
        [Pick(up, 0), Transpose(Pick(up, 1)), Pick(up, 2)],
        [Read("one"), Read("one")],
        [Slice(Pick(both, 0), 0, 0, 4), Slice(Pick(both, 1), 0, 4, 8)],
        [Concat((Pick(gate, e), Read("one")), 0) for e in range(3)],
    ):
        assert stacked(*parts) == Stack(tuple(parts))


def test_picking_comes_down_to_the_simplest_expression() -> None:
    def picked(expression: Expression, index: int) -> Expression:
        return pick(expression, index, SHAPES.__getitem__)

    up, one = Read("up"), Read("one")
    assert picked(up, 2) == Pick(up, 2)
    assert picked(Stack((one, Pick(up, 0))), 1) == Pick(up, 0)
    assert picked(Transpose(up), 2) == Transpose(Pick(up, 2))
    assert picked(Slice(up, 0, 1, 3), 1) == Pick(up, 2)
    assert picked(Slice(up, 1, 1, 3), 1) == Slice(Pick(up, 1), 0, 1, 3)
    assert picked(Concat((up, up), 2), 1) == Concat((Pick(up, 1), Pick(up, 1)), 1)
    assert picked(Transpose(Transpose(one)), 1) == Pick(Transpose(Transpose(one)), 1)
