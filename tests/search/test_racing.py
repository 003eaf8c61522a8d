"""Races: the same winner as the whole grid, for fewer answers; estimates that become exact."""

import numpy as np
import pytest
from asked import Book
from hypothesis import given, settings
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.search.racing import Asked, Race
from adamms.search.signals.agreement import Disagreement
from adamms.search.signals.consistency import Consistency
from adamms.search.trusted import TrustedSelector

COUNT = 300


def book(seed: int, best: int = 6, steps: int = 11) -> Book:
    """Answers whose changes between neighbours are fewest around `best`."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(list("abc"), COUNT)]
    for step in range(1, steps):
        changes = rng.random(COUNT) < 0.02 + 0.05 * abs(step - best)
        rows.append(np.where(changes, rng.choice(list("abc"), COUNT), rows[-1]))
    return Book(["".join(row) for row in rows], {"d": "".join(rng.choice(list("abc"), COUNT))})


@pytest.mark.parametrize("signal", [Consistency("sum"), Disagreement()], ids=str)
def test_the_whole_grids_winner_wins_the_race(signal: Consistency | Disagreement) -> None:
    """At an error rate of 0.05 at most 1 of 20 may differ; seeds are fixed."""
    same, shares = 0, []
    for seed in range(20):
        asked = book(seed)
        tasks = {"t": asked.examples}
        whole = TrustedSelector(signal, "").search(asked, asked.candidates, tasks).overall
        raced = book(seed)
        race = Race(seed=seed)
        found = TrustedSelector(signal, "", race=race).search(raced, raced.candidates, tasks).overall
        same += found.candidate == whole.candidate
        shares.append(raced.share)
    assert same >= 19
    if signal.reach is not None:  # nobody can be left out whose answers others are compared with
        assert np.mean(shares) < 0.85


def test_who_is_left_was_asked_everything_unless_alone() -> None:
    asked = book(1)
    finish = Race().run(asked, Consistency("sum"), asked.candidates, asked.examples)
    known = ~np.isnan(finish.asked.held)
    assert len(finish.left) == 1 or known[list(finish.left)].all()
    assert not known.all()


@given(
    strata=st.lists(st.integers(0, 1), min_size=2, max_size=12),
    values=st.lists(st.floats(0, 2), min_size=24, max_size=24),
)
@settings(max_examples=50)
def test_estimates_are_the_scaled_means_of_the_strata(strata: list[int], values: list[float]) -> None:
    held = np.array(values[: 2 * len(strata)]).reshape(2, -1)
    held[0, 0] = np.nan
    asked = Asked(held, np.full(held.shape, "", dtype=object), np.array(strata))
    for row in range(2):
        parts = [(held[row, asked.strata == s], (asked.strata == s).sum()) for s in set(strata)]
        known = [np.mean(part[~np.isnan(part)]) * count for part, count in parts if not np.isnan(part).all()]
        assert asked.scores[row] == pytest.approx(sum(known) if known else np.inf)
    if not np.isnan(held).any():
        assert asked.behind(0, 1) == (pytest.approx(held[0].sum() - held[1].sum()), 0)


def test_what_is_to_come_is_as_uncertain_as_it_turns_out() -> None:
    """Three standard deviations hold the true difference in nearly all draws (Gaussian: 99.7 %)."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        truth = (rng.random((2, 200)) < [[0.3], [0.35]]).astype(float)
        held = truth.copy()
        held[:, rng.permutation(200)[60:]] = np.nan
        asked = Asked(held, np.full(held.shape, "", dtype=object), np.zeros(200, dtype=int))
        expected, deviation = asked.behind(1, 0)
        inside += abs(expected - (truth[1] - truth[0]).sum()) < 3 * deviation
    assert inside >= 290


@pytest.mark.parametrize(
    ("parts", "error"), [((0.5, 0.2, 1.0), 0.05), ((0.5,), 0.05), ((), 0.05), ((1.0,), 0.0)]
)
def test_bad_settings_are_named(parts: tuple[float, ...], error: float) -> None:
    with pytest.raises(AdammsError, match=r"search\.race"):
        Race(error, parts)
