"""Expressions by rows, against whole-tensor NumPy."""

import json
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from expressions import Array, Arrays, expressions, tensors_of_one_rank, whole
from hypothesis import given
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.expression import (
    Concat,
    Expression,
    Mean,
    Pick,
    Read,
    Slice,
    Stack,
    Tokens,
    Transpose,
    from_tree,
    names_in,
    shape_of,
    to_tree,
)


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
        case {"tokens": source} | {"transpose": source} | {"pick": source, "index": int()}:
            return reads(source)
        case {"interleave": source, "size": int(), "parts": int()}:
            return reads(source)
        case {"concat": list(parts), "dim": int()} | {"mean": list(parts)} | {"stack": list(parts)}:
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
        {"stack": {"read": "w"}},
        {"pick": {"read": "w"}},
    ):
        with pytest.raises(AdammsError, match="not an expression of a plan"):
            from_tree(tree)


def test_reads_and_slices_are_views_of_the_stored_tensor() -> None:
    stored = {"w": torch.randn(6, 4)}
    target = torch.zeros(3, 2)
    rows = evaluate_rows(Slice(Slice(Read("w"), 0, 2, 5), 1, 1, 3), stored, 1, 3, target)
    assert torch.equal(rows, stored["w"][3:5, 1:3])
    assert rows.untyped_storage().data_ptr() == stored["w"].untyped_storage().data_ptr()


def test_experts_are_views_and_only_those_of_the_rows_are_read() -> None:
    stored = {"w": torch.randn(3, 4, 5), "a": torch.randn(5, 4)}
    one = Transpose(Pick(Read("w"), 2))
    rows = evaluate_rows(one, stored, 1, 3, torch.zeros(5, 4))
    assert torch.equal(rows, stored["w"][2].T[1:3])
    assert rows.untyped_storage().data_ptr() == stored["w"].untyped_storage().data_ptr()
    stack = Stack((Read("a"), Read("never read"), one))
    for expert, expected in ((0, stored["a"]), (2, stored["w"][2].T)):
        rows = evaluate_rows(stack, stored, expert, expert + 1, torch.zeros(3, 5, 4))
        assert torch.equal(rows, expected[None])
        storage = stored["a" if expert == 0 else "w"].untyped_storage().data_ptr()
        assert rows.untyped_storage().data_ptr() == storage


def test_tokens_count_their_matches() -> None:
    assert Tokens(Read("w"), (0, -1, 3, 3, -1)).matched == 3


def test_shapes_that_do_not_fit_are_an_error() -> None:
    for expression in [
        Slice(Read("w"), 0, 0, 7),
        Slice(Read("w"), 1, 3, 2),
        Slice(Read("w"), 0, -1, 2),
        Concat((Read("w"), Read("x")), 0),
        Mean((Read("w"), Read("x"))),
        Stack((Read("w"), Read("x"))),
        Pick(Read("w"), 6),
        Pick(Read("w"), -1),
        Pick(Read("v"), 0),
        Transpose(Read("v")),
    ]:
        shapes = {"w": (6, 4), "x": (6, 5), "v": (6,)}
        with pytest.raises(ValueError, match=r"slice|concatenate|average|stack|pick|transpose"):
            shape_of(expression, shapes.__getitem__)
