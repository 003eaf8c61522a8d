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

from adamms.engines.answer import BENT, Answer, Token, between
from adamms.merge.candidate import Candidate
from adamms.search.bisection import Bisection, Suited, Winners
from adamms.search.difference import Difference, ExactMatch, Overlap
from adamms.search.evidence import PARENTS, SURENESS, TOKENS, Ask, Evidence, recorded
from adamms.search.task_differences import TaskDifferences

STEPS = 11
SHIPPED = shipped("search=trusted").bisection
EXACT = ExactMatch()


def switching(places: list[int]) -> list[str]:
    """Answers to one example per place: `a` before it, `b` from it on."""
    return ["".join("a" if row < place else "b" for place in places) for row in range(STEPS)]


def by(difference: Difference, examples: Sequence[str]) -> Suited:
    """All answers are compared by this difference as it is."""
    return lambda evidence: TaskDifferences(dict.fromkeys(examples, difference))


def everywhere(evidence: Evidence, differences: TaskDifferences) -> list[tuple[int, Sequence[str]]]:
    """Every candidate wins over something, so that no answer is guessed."""
    return [(place, list(evidence.candidates[c])) for place, c in enumerate(evidence.order)]


def at(place: int, examples: Sequence[str], *tasks: tuple[int, Sequence[str]]) -> Winners:
    """This place wins over all, whatever is answered, and others over some of the examples."""
    return lambda evidence, differences: [(place, examples), *tasks]


def over(book: Book, bisection: Bisection, needs: Sequence[str], winners: Winners = everywhere) -> Ask:
    return bisection.over(book, needs, book.candidates, by(EXACT, book.examples), winners, seed=0)


def said(book: Book, bisection: Bisection, winners: Winners = everywhere) -> list[str]:
    found = over(book, bisection, (PARENTS,), winners)(book.candidates, book.examples)
    return ["".join(found.candidates[c][e].text for e in book.examples) for c in book.candidates]


@given(places=st.lists(st.integers(0, STEPS), min_size=1, max_size=30), first=st.floats(0.01, 1.0))
def test_an_answer_that_changes_once_is_found_exactly(places: list[int], first: float) -> None:
    rows = switching(places)
    assert said(Book(rows), replace(SHIPPED, first=first)) == rows


def test_most_of_the_grid_is_not_asked() -> None:
    places = np.random.default_rng(0).integers(0, STEPS + 1, 400).tolist()
    book = Book(switching(places))
    said(book, replace(SHIPPED, first=0.5), at(7, book.examples))
    assert book.share < 0.45  # both ends, the middle, and what changes beside the winner


def test_what_wins_and_what_lies_beside_it_is_asked_and_not_guessed() -> None:
    """Every answer of one candidate is another than everywhere else."""
    rows = [chr(ord("a") + row) * 10 for row in range(STEPS)]
    book = Book(rows)
    part = book.examples[:4]
    found = said(book, replace(SHIPPED, first=0.5), at(7, book.examples, (2, part)))
    assert [found[place] for place in (0, 5, 6, 7, 8, 10)] == [rows[place] for place in (0, 5, 6, 7, 8, 10)]
    assert found[2][:4] == rows[2][:4]
    # What was not asked is one of the two beside it; half-way each is as often.
    assert set(found[2][4:]) == {rows[0][0], rows[5][0]}
    assert sorted(found[9]) == list(rows[8][:5] + rows[10][:5])
    assert len(book.asked) == 6 * 10 + 3 * 4


def test_donors_and_target_are_handed_on() -> None:
    book = Book(switching([3, 5]), {"d": "xy"})
    found = over(book, SHIPPED, (PARENTS,))(book.candidates, book.examples)
    assert [found.donors["d"][e].text for e in book.examples] == ["x", "y"]
    assert [found.target[e].text for e in book.examples] == ["a", "a"]


def test_how_sure_an_inferred_answer_is_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """In logits, by alpha and not by the place in the grid, and above the line by `BENT`."""
    monkeypatch.setattr("adamms.search.bisection.LEAST", 0)
    grid = [Candidate(alpha) for alpha in (0.0, 0.1, 0.5, 1.0)]
    known = {grid[0]: math.log(0.5), grid[3]: math.log(0.9)}

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        said = {c: Answer("a", (Token(known[c], ()),)) for c in candidates}
        return Evidence({c: dict.fromkeys(examples, said[c]) for c in candidates})

    examples = [f"e{place}" for place in range(10)]
    bisection = replace(SHIPPED, first=1.0)
    found = bisection.over(ask, (PARENTS, SURENESS), grid, by(EXACT, examples), everywhere, 0)(grid, examples)
    for candidate, alpha in zip(grid[1:3], (0.1, 0.5), strict=True):  # 0.5 has the odds 1, 0.9 has 9
        sure = np.exp([found.candidates[candidate][e].tokens[0].logprob for e in examples])
        odds = 9**alpha * math.exp(BENT * alpha * (1 - alpha))
        np.testing.assert_allclose(sure, odds / (1 + odds), rtol=1e-4)


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
    assert over(book, SHIPPED, needs) is book


def test_a_grid_of_several_axes_is_asked() -> None:
    book = Book(switching([3]))
    lattice = [Candidate(alpha, (("merge.density", d),)) for d in (0.1, 0.2) for alpha in (0.0, 0.5)]
    assert SHIPPED.over(book, (), lattice, by(EXACT, book.examples), everywhere, 0) is book


def sentences(rows: Sequence[Sequence[int]]) -> dict[Candidate, dict[str, Answer]]:
    """Of twenty words each, as many of which as the number says are others than at the start."""
    return {
        Candidate(row / (len(rows) - 1)): {
            f"e{e}": Answer(" ".join("x" if word < changed else "y" for word in range(20)))
            for e, changed in enumerate(changes)
        }
        for row, changes in enumerate(rows)
    }


@pytest.mark.parametrize(("near", "asked", "far"), [(0.0, 5, 0.0), (0.06, 3, 0.06), (0.11, 2, 0.11)])
def test_what_lies_between_near_answers_is_taken_for_the_nearer_one(
    near: float, asked: int, far: float
) -> None:
    """Along five candidates one word in twenty changes at the second and one at the fourth."""
    answers = sentences([[0], [1], [1], [2], [2]])
    grid, seen = list(answers), set()

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        seen.update(candidates)
        return Evidence({c: answers[c] for c in candidates})

    bisection = replace(SHIPPED, first=1.0, near=near, error=0.2)
    overlap = Overlap(ordered=True, template=None, corrected=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adamms.search.bisection.LEAST", 0)
        found = bisection.over(ask, (), grid, by(overlap, ["e0"]), at(2, ["e0"]), 0)(grid, ["e0"])
    assert len(seen) == asked
    for candidate in grid:
        wrong = overlap([found.candidates[candidate]["e0"].text], [answers[candidate]["e0"].text])[0]
        assert wrong <= far


@pytest.mark.parametrize(("near", "kept"), [(0.4, False), (0.5, True)])
def test_wrong_is_what_is_further_from_the_inferred_answer_than_near(near: float, kept: bool) -> None:
    """In the middle half of the words are others; where that is too much, everything is asked."""
    answers = sentences([[0] * 40, [10] * 40, [10] * 40, [10] * 40, [0] * 40])
    grid, examples = list(answers), list(answers[Candidate(0.0)])
    bisection = replace(SHIPPED, first=1.0, near=near, checked=0.2)
    ask = bisection.over(recorded(answers), (), grid, by(Overlap(True, None, False), examples), everywhere, 0)
    found = ask(grid, examples).candidates[grid[2]]
    assert (found == answers[grid[2]]) == (not kept)


def test_the_nearer_of_two_texts_is_taken_with_its_own_probabilities() -> None:
    one, other = Answer("a b", (Token(-0.1, ()), Token(-0.2, ()))), Answer("a c", (Token(-0.3, ()),) * 2)
    assert between(one, other, 0.4) == one
    assert between(one, other, 0.6) == other
    assert between(one, replace(one, text="A  b"), 0.6).tokens != one.tokens
