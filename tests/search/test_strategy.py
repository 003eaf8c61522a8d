"""The recommended search: the smallest D wins, ends included; and how probably its choice is good."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from asked import Book
from strategies import shipped, signal, trusted

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.difference import Corrected, ExactMatch
from adamms.search.evidence import DONORS, PARENTS, SCORES, Evidence
from adamms.search.signals.agreement import Disagreement
from adamms.search.signals.consistency import Consistency
from adamms.search.signals.likelihood import Likelihood
from adamms.search.signals.panel import Panel
from adamms.search.strategy import Strategy
from adamms.search.trust import lengths, trust

PANEL = Panel({"near": Consistency("sum"), "all": Disagreement(0, "mean", 0, 0.0)}, {"near": 0.5, "all": 2.0})


def overall(book: Book, **settings: object):
    strategy = trusted(**{"signal": PANEL, "resamples": 200} | settings)
    return strategy.choose(book, book.candidates, {"t": book.examples}).overall


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


def test_sums_are_the_signals_and_bisection_finds_as_good_a_one() -> None:
    book = plateau(3, 5)
    choice = overall(book)
    held = PANEL.differences(book(book.candidates, book.examples), book.examples, ExactMatch())
    np.testing.assert_allclose(list(choice.differences.values()), held.sum(1), atol=1e-9)
    spared = plateau(3, 5)
    found = overall(spared, bisection=shipped("search=trusted").bisection)
    assert spared.share < 0.5
    assert spared.rows[found.candidate] == book.rows[choice.candidate]  # the same plateau


def test_a_graded_difference_changes_neither_what_bisection_asks_first_nor_what_it_finds() -> None:
    """Every answer changes once, far away from the end: neighbours of the wrong ones would be others."""
    switches = np.random.default_rng(0).integers(1, 8, 40).tolist()
    rows = ["".join("a" if row < place else "b" for place in switches) for row in range(11)]
    book, asked = Book(rows), []
    graded = trusted(difference=shipped("search=trusted").difference, signal=Consistency("sum"))
    assert graded.difference.graded

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        asked.append(list(candidates))
        return book(candidates, examples)

    spared = replace(graded, bisection=shipped("search=trusted").bisection)
    found, wanted = (
        one.choose(ask, book.candidates, {"t": book.examples}).overall for one in (spared, graded)
    )
    assert asked[0] == [book.candidates[place] for place in (0, 5, 10)]
    assert found.candidate == wanted.candidate
    assert found.differences[book.candidates[10]] == wanted.differences[book.candidates[10]] == 0


def test_a_panel_is_the_weighted_sum_of_its_members() -> None:
    book = plateau(2, 3)
    evidence = book(book.candidates, book.examples)
    difference = ExactMatch()
    near, far = (member.differences(evidence, book.examples, difference) for member in PANEL.members.values())
    found = PANEL.differences(evidence, book.examples, difference)
    np.testing.assert_allclose(found, 0.5 * near + 2 * far, atol=1e-12)
    assert (PANEL.neighbours, PANEL.alone) == ((-1, 1), False)
    alone = signal("surest_parent")
    assert Panel({"it": alone}, {"it": 1.0}).alone
    for weights in ({}, {"other": 1.0}, {"it": 1.0, "other": 1.0}):
        with pytest.raises(AdammsError, match=r"search\.signal\.members: it"):
            Panel({"it": alone}, weights)
    with pytest.raises(AdammsError, match="at least one"):
        Panel({}, {})
    with pytest.raises(AdammsError, match="all 0"):
        Panel({"it": alone}, {"it": 0.0})


def test_a_member_without_weight_is_not_asked_and_donors_are_needed_by_all_or_none() -> None:
    members = {"near": Consistency("sum"), "likely": Likelihood("parents")}
    both = Panel(members, {"near": 1.0, "likely": 1.0})
    assert set(both.needs) == {PARENTS, SCORES}
    assert Panel(members, {"near": 1.0, "likely": 0.0}).needs == ()
    assert DONORS in Panel(members, {"near": 0.0, "likely": 1.0}).needs


def test_without_donors_the_members_that_need_one_are_left_out_and_nothing_is_scored() -> None:
    panel = Panel({"near": Consistency("sum"), "surest": signal("surest_parent")}, {"near": 0.5, "surest": 1})
    book = plateau(2, 3)
    evidence = replace(book(book.candidates, book.examples), target={}, donors={})
    alone = 0.5 * Consistency("sum").differences(evidence, book.examples, ExactMatch())
    np.testing.assert_allclose(panel.differences(evidence, book.examples, ExactMatch()), alone)
    none_left = Panel({"surest": signal("surest_parent")}, {"surest": 1})
    with pytest.raises(AdammsError, match="donors"):
        none_left.differences(evidence, book.examples, ExactMatch())
    assert not {PARENTS, SCORES} & set(shipped("search=trusted", "search.donors=false").needs)


def test_every_task_has_its_choice() -> None:
    book = plateau(3, 5)
    tasks = {"first": book.examples[:10], "second": book.examples[10:]}
    selection = trusted(signal=PANEL).choose(book, book.candidates, tasks)
    assert list(selection.tasks) == ["first", "second"]
    assert [choice.examples for choice in selection.tasks.values()] == [10, 10]
    assert selection.overall.because == PANEL.because


def test_trust_is_its_formula() -> None:
    """Four candidates, no resampling: A = -slope gap + chance W, with a walk of its own on each side."""
    gaps, apart = np.full((20000, 4), [0.03, 0.0, 0.1, 0.02]), np.zeros((4, 100))
    for place, count in enumerate((4, 0, 25, 16)):
        apart[place, :count] = 1
    found = trust(gaps, apart, ["t"] * 100, winner=1, tolerance=2.0, slope=0.4, chance=15.0, seed=0)
    z = np.random.default_rng(1).standard_normal((200_000, 3))
    near = 15 * 0.4 * z[:, 1]  # the last is nearer to the winner, and the third lies beyond it
    rivals = [-0.4 * 3 + 15 * 0.2 * z[:, 0], -0.4 * 2 + near, -0.4 * 10 + near + 15 * 0.3 * z[:, 2]]
    expected = (np.max(rivals, axis=0) <= 2).mean()
    assert found.probability == pytest.approx(expected, abs=0.02)  # 20 000 draws: 0.004 standard deviation
    assert (found.tolerance, found.slope) == (2.0, 0.4)


@pytest.mark.parametrize(("differ", "sure"), [(2, True), (3, False)])
def test_nothing_is_ahead_by_more_than_the_answers_that_differ(differ: int, sure: bool) -> None:
    apart = np.zeros((2, 100))
    apart[1, :differ] = 0.5
    found = trust(np.zeros((1000, 2)), apart, ["t"] * 100, 0, 2.0, 0.0, 50.0, 0)
    assert (found.probability == 1) == sure


def test_without_a_slope_only_answers_that_differ_count() -> None:
    apart = np.repeat([[0.2], [0.0], [0.5]], 10, axis=1)
    found = [trust(np.full((2000, 3), gap), apart, ["t"] * 10, 1, 2.0, 0.0, 15.0, 0) for gap in (0.0, 0.5)]
    assert found[0] == found[1]


def test_errors_of_many_tasks_cancel_out() -> None:
    """Of as many examples: one task, four that are alike, and a small one beside a large one."""
    apart = np.full((1, 100), 0.8)
    one, four = lengths(apart, ["a"] * 100), lengths(apart, [*"abcd"] * 25)
    np.testing.assert_allclose([one, four], [[0.8], [0.2]])
    np.testing.assert_allclose(lengths(apart, ["a"] * 25 + ["b"] * 75), [0.8 * (0.25**2 + 0.75**2)])


def test_tasks_of_a_few_examples_make_nothing_sure() -> None:
    """A hundred tasks of one example are as five of twenty; five examples are less sure than a hundred."""
    apart = np.full((1, 100), 0.8)
    np.testing.assert_allclose(lengths(apart, range(100)), lengths(apart, [*"abcde"] * 20))
    assert lengths(apart[:, :5], ["a"] * 5) > lengths(apart, ["a"] * 100)


def test_one_that_cannot_be_far_off_is_trusted() -> None:
    """Answers that differ in no more than 2 % of the examples can hardly be 2 points apart."""
    rows = ["a" * 100, "a" * 99 + "b", "a" * 98 + "bb"]
    choice = overall(Book(rows, {"d": "a" * 100}))
    assert choice.trust is not None
    assert choice.trust.probability > 0.95


def test_trust_falls_where_rivals_are_close_and_answer_otherwise() -> None:
    near = overall(Book(["a" * 40, "a" * 40, "b" * 40, "b" * 40], {"d": "ab" * 20}))
    assert near.trust is not None
    assert near.trust.probability < 0.7


def test_one_candidate_is_no_grid() -> None:
    book = Book(["a", "b"])
    with pytest.raises(AdammsError, match="at least 2"):
        trusted().check(book.candidates[:1])
    with pytest.raises(AdammsError, match="no examples"):
        trusted(signal=PANEL).choose(book, book.candidates, {})


def test_the_ends_are_barred_only_to_signals_that_compare_neighbours() -> None:
    """Along 5 candidates; `interior` is the paper's."""

    def able(strategy: Strategy) -> list[int]:
        book = Book(["a", "b", "c", "d", "e"], {"d": "a"})
        choice = strategy.choose(book, book.candidates, {"t": book.examples}).overall
        return [book.candidates.index(candidate) for candidate in choice.differences]

    for endpoints, expected in {
        "interior": [1, 2, 3],
        "one_sided": [0, 1, 2, 3],
        "both": list(range(5)),
    }.items():
        assert able(trusted(signal=PANEL, endpoints=endpoints)) == expected
        assert able(trusted(signal=Disagreement(0, "mean", 0, 0.0), endpoints=endpoints)) == list(range(5))
    assert able(trusted(signal=Consistency("previous"), endpoints="interior")) == [1, 2, 3, 4]


def test_a_graded_difference_reaches_every_part_of_the_choice() -> None:
    """With a difference of half a point, D and the distance between answers in `trust` are half as large."""

    book = plateau(3, 5)
    half = Corrected(ExactMatch(), expected=2.0)
    whole, halved = overall(book, slope=0.0), overall(book, slope=0.0, difference=half)
    assert list(halved.differences.values()) == pytest.approx([d / 2 for d in whole.differences.values()])
    assert halved.candidate == whole.candidate
    assert halved.trust.probability > whole.trust.probability
