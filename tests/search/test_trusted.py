"""The recommended choice: the smallest sum wins, ends included, and what is said of its worth."""

import numpy as np
import pytest
from asked import Book

from adamms.errors import AdammsError
from adamms.search.bisection import Bisection
from adamms.search.signals.agreement import Disagreement
from adamms.search.signals.consistency import Consistency
from adamms.search.signals.panel import Panel
from adamms.search.trust import SLOPE, SPREAD, trust
from adamms.search.trusted import TrustedSelector

PANEL = Panel((Consistency("sum"), Disagreement()), (0.5, 2.0))


def overall(book: Book, **settings: object):
    selector = TrustedSelector(PANEL, "it is good", resamples=200, **settings)  # type: ignore[arg-type]
    return selector.search(book, book.candidates, {"t": book.examples}).overall


def plateau(wrong: int, right: int) -> Book:
    """A plateau at alpha 0 whose answers nobody else gives, then a wider one that the donor agrees with."""
    rows = (
        ["x" * 20] * wrong
        + ["xxxxxyyyyyzzzzzwwwww", "yyyyyyyyyyzzzzzwwwww"]
        + ["y" * 19 + "x"]
        + ["y" * 20] * right
    )
    return Book(rows, {"d": "y" * 20})


def test_a_wrong_plateau_at_the_target_does_not_win() -> None:
    """The paper's rule takes 0.1 there: nothing changes next to it."""
    book = plateau(3, 5)
    assert overall(book).candidate in book.candidates[-6:]


def test_the_target_may_win() -> None:
    """Everything changes from the first step on, and donors agree with the target."""
    book = Book(["a" * 9, "aaaaaaaaa", "aaaabbbbb", "ccccccccc", "ddddddddd"], {"d": "a" * 9})
    assert overall(book).candidate == book.candidates[0]


def test_sums_are_the_signals_and_bisection_finds_the_same() -> None:
    book = plateau(3, 5)
    choice = overall(book)
    held = PANEL.differences(book(book.candidates, book.examples), book.examples)
    np.testing.assert_allclose(list(choice.differences.values()), held.sum(1), atol=1e-9)
    spared = plateau(3, 5)
    assert overall(spared, bisection=Bisection()).candidate == choice.candidate


def test_a_panel_is_the_weighted_sum_of_its_members() -> None:
    book = plateau(2, 3)
    evidence = book(book.candidates, book.examples)
    members = [member.differences(evidence, book.examples) for member in PANEL.members]
    np.testing.assert_allclose(
        PANEL.differences(evidence, book.examples), 0.5 * members[0] + 2 * members[1], atol=1e-12
    )
    assert PANEL.reach is None
    assert Panel((Consistency("sum", smoothing=1),), (1,)).reach == 2
    for members_, weights in (((), ()), ((Disagreement(),), (1.0, 2.0)), ((Disagreement(),), (-1.0,))):
        with pytest.raises(AdammsError, match=r"search\.signal"):
            Panel(members_, weights)


def test_every_task_has_its_choice() -> None:
    book = plateau(3, 5)
    tasks = {"first": book.examples[:10], "second": book.examples[10:]}
    selection = TrustedSelector(PANEL, "it is good").search(book, book.candidates, tasks)
    assert list(selection.tasks) == ["first", "second"]
    assert [choice.examples for choice in selection.tasks.values()] == [10, 10]
    assert selection.overall.because == "it is good"


def test_trust_is_its_formula() -> None:
    """Three candidates, no resampling: the chosen one's rivals have A = -k gap + s apart z on either side."""
    gaps, apart = np.full((20000, 3), [0.03, 0.0, 0.1]), np.full((20000, 3), [0.2, 0.0, 0.5])
    found = trust(gaps, apart, winner=1, tolerance=2.0, seed=0)
    z = np.random.default_rng(1).standard_normal((200_000, 2))
    rivals = [-SLOPE * 3 + SPREAD * 20 * z[:, 0], -SLOPE * 10 + SPREAD * 50 * z[:, 1]]
    expected = (np.max(rivals, axis=0) <= 2).mean()
    assert found.probability == pytest.approx(expected, abs=0.02)  # 20 000 draws: 0.004 standard deviation
    assert found.tolerance == 2.0


def test_one_that_cannot_be_far_off_is_trusted() -> None:
    """Answers that differ in no more than 2 % of the examples can hardly be 2 points apart."""
    rows = ["a" * 100, "a" * 99 + "b", "a" * 98 + "bb"]
    choice = overall(Book(rows, {"d": "a" * 100}))
    assert choice.trust is not None
    assert choice.trust.probability > 0.97


def test_trust_falls_where_rivals_are_close_and_answer_otherwise() -> None:
    near = overall(Book(["a" * 40, "a" * 40, "b" * 40, "b" * 40], {"d": "ab" * 20}))
    assert near.trust is not None
    assert near.trust.probability < 0.7


def test_one_candidate_is_no_grid() -> None:
    book = Book(["a", "b"])
    with pytest.raises(AdammsError, match="at least 2"):
        TrustedSelector(PANEL, "").check(book.candidates[:1])
    with pytest.raises(AdammsError, match="no examples"):
        TrustedSelector(PANEL, "").search(book, book.candidates, {})
