"""Inferred answers: right where an answer changes once, checked where it does not, and cheap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from asked import Book
from hypothesis import given
from hypothesis import strategies as st
from strategies import shipped

from adamms.engines.answer import Answer, Token
from adamms.merge.candidate import Candidate
from adamms.search.bisection import PART, Bisection, heaviest
from adamms.search.contest import Contest
from adamms.search.difference import Difference, ExactMatch, Overlap
from adamms.search.evidence import PARENTS, SCORES, SURENESS, TOKENS, Ask, Evidence, recorded, texts
from adamms.search.partial_grid import BENT, PartialGrid
from adamms.search.resampling import Array
from adamms.search.signals.agreement import Disagreement
from adamms.search.signals.signal import Signal
from adamms.search.task_differences import TaskDifferences

STEPS = 11
SHIPPED = shipped("search=trusted").bisection
EXACT = ExactMatch()


def switching(places: list[int]) -> list[str]:
    """Answers to one example per place: `a` before it, `b` from it on."""
    return ["".join("a" if row < place else "b" for place in places) for row in range(STEPS)]


@dataclass(frozen=True)
class At(Signal):
    """This place wins, whatever is answered."""

    place: int

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        away = np.abs(np.arange(len(evidence.candidates)) - self.place) + 1.0
        return np.repeat(away[:, None], len(examples), axis=1)


@dataclass(frozen=True)
class Other(Signal):
    """The difference from this text."""

    text: str

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        rows = [texts(evidence.candidates[candidate], examples) for candidate in evidence.order]
        return np.stack([difference(row, [self.text] * len(row)) for row in rows])


def over(
    ask: Ask,
    grid: Sequence[Candidate],
    examples: Sequence[str],
    bisection: Bisection,
    signal: Signal,
    needs: Sequence[str] = (PARENTS,),
    difference: Difference = EXACT,
) -> Ask:
    """All answers are compared by this difference as it is."""
    contest = Contest((len(grid),), signal.neighbours, "both", smoothing=0, ties="middle")
    suited = TaskDifferences({"t": difference}, dict.fromkeys(examples, "t"))
    return bisection.over(ask, needs, grid, signal, contest, lambda evidence: suited, seed=0)


def said(book: Book, bisection: Bisection, signal: Signal) -> list[str]:
    found = over(book, book.candidates, book.examples, bisection, signal)(book.candidates, book.examples)
    return ["".join(found.candidates[c][e].text for e in book.examples) for c in book.candidates]


def test_most_of_the_grid_is_not_asked() -> None:
    places = np.random.default_rng(0).integers(0, STEPS + 1, 400).tolist()
    book = Book(switching(places))
    said(book, SHIPPED, At(7))
    assert book.share < 0.45  # both ends, the middle, and what changes beside the winner


def test_what_wins_and_what_lies_beside_it_is_asked_and_not_guessed() -> None:
    """Every answer of one candidate is another than everywhere else."""
    rows = [chr(ord("a") + row) * 10 for row in range(STEPS)]
    book = Book(rows)
    found = said(book, SHIPPED, At(7))
    assert [found[place] for place in (0, 5, 6, 7, 8, 10)] == [rows[place] for place in (0, 5, 6, 7, 8, 10)]
    # What was not asked is one of the two beside it; half-way each is as often.
    assert set(found[2]) == {rows[0][0], rows[5][0]}
    assert sorted(found[9]) == list(rows[8][:5] + rows[10][:5])
    assert len(book.asked) == 6 * 10


@pytest.mark.parametrize(("margin", "seen"), [(0.0, False), (5.0, True)])
def test_who_might_win_instead_is_asked(margin: float, seen: bool) -> None:
    """The winner of those asked first is in the middle; a better one lies where guesses differ much."""
    early, late = "a" * 12 + "b" * 28, "b" * 20 + "a" * 20
    book = Book([early, early, "a" * 40, *[late] * 8])
    found = over(book, book.candidates, book.examples, replace(SHIPPED, margin=margin), Other("a"))
    held = Other("a").differences(found(book.candidates, book.examples), book.examples, EXACT)
    assert (held.sum(1).argmin() == 2) == seen
    assert book.share < 0.6


@pytest.mark.parametrize("seed", range(5))
def test_where_answers_change_once_the_choice_is_that_of_all_answers(seed: int) -> None:
    """Half of them from a wrong one, half from a right one. Less than half are asked."""
    rng = np.random.default_rng(seed)
    learnt, forgotten = rng.normal(4, 2, 100).round().tolist(), rng.normal(8, 2, 100).round().tolist()
    rows = [["b" if row >= p else "a" for p in learnt] for row in range(STEPS)]
    rows = [[*kept, *("b" if row < p else "a" for p in forgotten)] for row, kept in enumerate(rows)]
    book, whole = Book(rows), Other("b")
    asked = recorded(Book(rows)(book.candidates, book.examples).candidates)(book.candidates, book.examples)
    ask = over(book, book.candidates, book.examples, SHIPPED, whole)
    found = ask(book.candidates, book.examples)
    sums = [whole.differences(each, book.examples, EXACT).sum(1) for each in (asked, found)]
    assert sums[0].argmin() == sums[1].argmin()
    assert book.share < 0.5


def test_what_is_held_follows_what_was_asked_of_other_examples_of_the_task() -> None:
    """Reliable voters count more on all examples of their task."""
    rows = [["xyz"[(row * example) % 3] for example in range(12)] for row in range(STEPS)]
    book, signal = Book(rows), Disagreement(0.0, "mean", 2.0, 0.0)
    tasks = {example: "st"[place % 2] for place, example in enumerate(book.examples)}
    differences = TaskDifferences({"s": EXACT, "t": EXACT}, tasks)
    first = book([book.candidates[0], book.candidates[-1]], book.examples)
    grid = PartialGrid(book.candidates, book.examples, first, signal, differences, seed=0)
    grid.add([book([book.candidates[4]], book.examples[:5:2])])
    for draw, held in enumerate(grid.held):
        wanted = differences.held(signal, grid.evidence(book.examples, draw), book.examples)
        np.testing.assert_allclose(held.T, wanted, atol=1e-12)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=12))
def test_the_heaviest_examples_are_the_fewest_with_their_part_of_the_weight(values: list[float]) -> None:
    weights = np.array(values)
    found = heaviest(weights)
    enough = PART * weights.sum() - 1e-6
    assert weights[found].sum() >= enough
    lightest = weights[found].min(initial=np.inf)
    assert weights[found].sum() - lightest < enough + 1e-5 or not found.any()
    assert (weights[~found] <= lightest).all()


def test_donors_and_target_are_handed_on() -> None:
    book = Book(switching([3, 5]), {"d": "xy"})
    found = over(book, book.candidates, book.examples, SHIPPED, At(3))(book.candidates, book.examples)
    assert [found.donors["d"][e].text for e in book.examples] == ["x", "y"]
    assert [found.target[e].text for e in book.examples] == ["a", "a"]


def test_how_sure_an_inferred_answer_is_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """In logits, by alpha and not by the place in the grid; own answers above the line by `BENT`."""
    monkeypatch.setattr("adamms.search.bisection.LEAST", 0)
    grid = [Candidate(alpha) for alpha in (0.0, 0.1, 0.5, 1.0)]
    known = {grid[0]: math.log(0.5), grid[3]: math.log(0.9)}
    examples = [f"e{place}" for place in range(10)]

    def ask(candidates: Sequence[Candidate], part: Sequence[str]) -> Evidence:
        said = {c: dict.fromkeys(part, Answer("a", (Token(known[c], ()),))) for c in candidates}
        return Evidence(said, scored={c: {e: {"b": own[e]} for e in part} for c, own in said.items()})

    needs = (PARENTS, SURENESS, SCORES)
    found = over(ask, grid, examples, replace(SHIPPED, first=1.0), At(0), needs)(grid, examples)
    for candidate, alpha in zip(grid[1:3], (0.1, 0.5), strict=True):  # 0.5 has the odds 1, 0.9 has 9
        for bent, answers in (
            (BENT, found.candidates[candidate].values()),
            (0.0, [scored["b"] for scored in found.scored[candidate].values()]),
        ):
            odds = 9**alpha * math.exp(bent * alpha * (1 - alpha))
            sure = np.exp([answer.tokens[0].logprob for answer in answers])
            np.testing.assert_allclose(sure, [odds / (1 + odds)] * 10, rtol=1e-4)
    assert {found.candidates[grid[1]][e].text for e in examples} == {"a"}
    assert set(found.inferred[grid[1]]) == set(examples)


def test_where_inferring_goes_wrong_everything_is_asked() -> None:
    """Answers that come and go between equal ends: the check sees it."""
    rows = ["a" * 60 if row in (0, 5, 10) else "c" * 60 for row in range(STEPS)]
    book = Book(rows)
    assert said(book, SHIPPED, At(5)) == rows
    assert book.share == 1


@pytest.mark.parametrize(("every", "words", "asked"), [(3, 1, False), (1, 5, True)])
def test_where_some_sentences_are_not_quite_what_was_inferred_not_all_is_asked(
    every: int, words: int, asked: bool
) -> None:
    """In every so many answers so many of ten words are others at most alphas than where all is asked."""
    drawn = np.random.default_rng(0).integers(0, 100, (60, 10)).astype(str)
    inferred = [" ".join(row) for row in drawn]
    drawn[::every, :words] = "other"
    rows = [inferred if row in (0, 5, 10) else [" ".join(each) for each in drawn] for row in range(STEPS)]
    book, suited = Book(rows), shipped("search=trusted").difference.suited([inferred])
    over(book, book.candidates, book.examples, SHIPPED, At(5), difference=suited)(
        book.candidates, book.examples
    )
    assert (book.share == 1) == asked


def test_a_few_wrong_ones_are_put_up_with_and_those_that_were_seen_put_right() -> None:
    rows = [["a"] * 400 for _ in range(STEPS)]
    for example in range(4):
        rows[2][example] = "b"
    book = Book(rows)
    found = said(book, replace(SHIPPED, checked=1.0), At(5))
    assert found == ["".join(row) for row in rows]
    assert said(Book(rows), SHIPPED, At(5))[3] == "a" * 400


@pytest.mark.parametrize("needs", [(TOKENS,), (PARENTS, TOKENS)])
def test_what_cannot_be_inferred_is_asked(needs: tuple[str, ...]) -> None:
    book = Book(switching([3]))
    assert over(book, book.candidates, book.examples, SHIPPED, At(3), needs) is book


def test_a_grid_of_several_axes_is_asked() -> None:
    book = Book(switching([3]))
    lattice = [Candidate(alpha, (("merge.density", d),)) for d in (0.1, 0.2) for alpha in (0.0, 0.5)]
    assert over(book, lattice, book.examples, SHIPPED, At(3), ()) is book


def test_sentences_that_differ_are_guessed_and_those_without_a_difference_inferred() -> None:
    """Along five candidates a word changes at the second, and one that does not count at the last."""
    rows = ["x y", "z y", "z y", "z y", "the z y"]
    grid = [Candidate(place / 4) for place in range(5)]
    answers = {c: {"e0": Answer(text)} for c, text in zip(grid, rows, strict=True)}
    overlap = Overlap(ordered=True, template=None, corrected=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adamms.search.bisection.LEAST", 0)
        ask = over(recorded(answers), grid, ["e0"], SHIPPED, At(2), (), overlap)
        found = ask(grid, ["e0"])
    assert [set(found.inferred[c]) for c in grid] == [set(), set(), set(), {"e0"}, set()]
    assert [found.guessed[c] for c in grid] == [set()] * 5  # the neighbours were asked
