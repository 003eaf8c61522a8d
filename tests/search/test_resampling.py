"""Sums over examples drawn anew: what they are on average, and how they spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.search.resampling import resampled_sums


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 250), st.integers(0, 5))
def test_every_resample_draws_as_many_examples_as_asked(
    examples: int, draws: int, resamples: int, seed: int
) -> None:
    """A row of ones counts them; the rows of a unit matrix say how often each is drawn."""
    sums = resampled_sums(np.vstack([np.ones(examples), np.eye(examples)]), draws, resamples, seed)
    assert sums.shape == (resamples, 1 + examples)
    assert (sums[:, 0] == draws).all()
    assert (sums[:, 1:].sum(1) == draws).all()


def test_mean_and_spread_are_those_of_the_multinomial_distribution() -> None:
    values = np.random.default_rng(0).random((2, 12))
    sums = resampled_sums(values, 40, 20_000, 1)
    assert sums.mean(0) == pytest.approx(40 * values.mean(1), rel=0.01)
    assert np.cov(sums.T) == pytest.approx(40 * np.cov(values, bias=True), rel=0.05, abs=0.05)


def test_the_draws_are_decided_by_the_seed_and_are_the_same_for_all_rows() -> None:
    values = np.random.default_rng(0).integers(0, 2, (3, 50)).astype(float)
    together = resampled_sums(values, 50, 130, [0, 7])
    for row, alone in zip(values, together.T, strict=True):
        assert (resampled_sums(row[None], 50, 130, [0, 7])[:, 0] == alone).all()
    assert (resampled_sums(values, 50, 130, [0, 8]) != together).any()
