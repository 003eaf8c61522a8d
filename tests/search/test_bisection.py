"""Inferred answers: right where an answer changes once, checked where it does not, and cheap."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from asked import Book
from hypothesis import given
from hypothesis import strategies as st
from strategies import shipped

from adamms.engines.answer import BENT, Answer, Token
from adamms.merge.candidate import Candidate
from adamms.search.bisection import Bisection
from adamms.search.evidence import PARENTS, SURENESS, TOKENS, Evidence

STEPS = 11
SHIPPED = shipped("search=trusted").bisection


def switching(places: list[int]) -> list[str]:
    """Answers to one example per place: `a` before it, `b` from it on."""
    return ["".join("a" if row < place else "b" for place in places) for row in range(STEPS)]


def said(book: Book, bisection: Bisection) -> list[str]:
    found = bisection.over(book, (PARENTS,), book.candidates, seed=0)(book.candidates, book.examples)
    return ["".join(found.candidates[c][e].text for e in book.examples) for c in book.candidates]


@given(places=st.lists(st.integers(0, STEPS), min_size=1, max_size=30), first=st.floats(0.01, 1.0))
def test_an_answer_that_changes_once_is_found_exactly(places: list[int], first: float) -> None:
    rows = switching(places)
    assert said(Book(rows), replace(SHIPPED, first=first)) == rows


def test_most_of_the_grid_is_not_asked() -> None:
    places = np.random.default_rng(0).integers(0, STEPS + 1, 400).tolist()
    book = Book(switching(places))
    said(book, replace(SHIPPED, first=0.5))
    assert book.share < 0.6  # both ends, the middle, and two or three steps to a change


def test_donors_and_target_are_handed_on() -> None:
    book = Book(switching([3, 5]), {"d": "xy"})
    found = SHIPPED.over(book, (PARENTS,), book.candidates, 0)(book.candidates, book.examples)
    assert [found.donors["d"][e].text for e in book.examples] == ["x", "y"]
    assert [found.target[e].text for e in book.examples] == ["a", "a"]


def test_how_sure_an_inferred_answer_is_lies_between() -> None:
    """In logits, by alpha and not by the place in the grid, and above the line by `BENT`."""
    grid = [Candidate(alpha) for alpha in (0.0, 0.1, 0.5, 1.0)]
    known = {grid[0]: math.log(0.5), grid[3]: math.log(0.9)}

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        """Those between say the same, and are less sure of it than was inferred."""
        said = {c: Answer("a", (Token(known.get(c, -9.0), ()),)) for c in candidates}
        return Evidence({c: dict.fromkeys(examples, said[c]) for c in candidates})

    examples = [f"e{place}" for place in range(100)]
    found = replace(SHIPPED, first=1.0, checked=0.2).over(ask, (PARENTS, SURENESS), grid, 0)(grid, examples)
    sure = np.exp([[found.candidates[c][e].tokens[0].logprob for e in examples] for c in grid[1:3]])
    asked = np.isclose(sure, math.exp(-9.0))
    assert asked.sum() == 40  # of 200
    for row, alpha in enumerate((0.1, 0.5)):  # 0.5 has the odds 1, 0.9 has 9
        odds = 9**alpha * math.exp(BENT * alpha * (1 - alpha))
        np.testing.assert_allclose(sure[row][~asked[row]], odds / (1 + odds), rtol=1e-4)


def test_where_inferring_goes_wrong_everything_is_asked() -> None:
    """Answers that come and go between equal ends: the check sees it."""
    rows = ["a" * 60 if row in (0, 5, 10) else "c" * 60 for row in range(STEPS)]
    book = Book(rows)
    assert said(book, replace(SHIPPED, first=0.5)) == rows
    assert book.share == 1


def test_a_few_wrong_ones_are_put_up_with_and_those_that_were_seen_put_right() -> None:
    rows = [["a"] * 400 for _ in range(STEPS)]
    for example in range(4):
        rows[2][example] = "b"
    book = Book(rows)
    found = said(book, replace(SHIPPED, first=0.5, checked=1.0))
    assert found == ["".join(row) for row in rows]
    assert said(Book(rows), replace(SHIPPED, first=0.5))[3] == "a" * 400


@pytest.mark.parametrize("needs", [(TOKENS,), (PARENTS, TOKENS)])
def test_what_cannot_be_inferred_is_asked(needs: tuple[str, ...]) -> None:
    book = Book(switching([3]))
    assert SHIPPED.over(book, needs, book.candidates, 0) is book


def test_a_grid_of_several_axes_is_asked() -> None:
    book = Book(switching([3]))
    lattice = [Candidate(alpha, (("merge.density", d),)) for d in (0.1, 0.2) for alpha in (0.0, 0.5)]
    assert SHIPPED.over(book, (), lattice, 0) is book
