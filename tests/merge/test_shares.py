"""Shares of the donors, and what is no share."""

import pytest
import torch

from adamms.errors import AdammsError
from adamms.merge.method import Chunk
from adamms.merge.methods.linear import Linear
from adamms.merge.shares import check_alpha, donor_shares, target_share


def test_one_number_is_shared_equally() -> None:
    assert donor_shares(0.3, ["a"]) == {"a": 0.3}
    assert donor_shares(0.6, ["a", "b", "c"]) == dict.fromkeys("abc", 0.6 / 3)
    assert donor_shares(0, ["a", "b"]) == {"a": 0, "b": 0}
    assert donor_shares(1, ["a"]) == {"a": 1}


def test_one_number_per_donor_comes_in_the_donors_order() -> None:
    shares = donor_shares({"b": 0.5, "a": 0.25}, ["a", "b"])
    assert list(shares.items()) == [("a", 0.25), ("b", 0.5)]


def test_shares_may_add_up_to_one_despite_rounding() -> None:
    names = [f"d{i}" for i in range(10)]
    assert donor_shares(dict.fromkeys(names, 0.1), names) == dict.fromkeys(names, 0.1)


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (-0.1, r"merge\.alpha is -0\.1; expected a number in \[0, 1\]"),
        (1.0000001, r"merge\.alpha is 1\.0000001"),
        (float("nan"), r"merge\.alpha is nan"),
        (float("inf"), r"merge\.alpha is inf"),
        (True, r"merge\.alpha is True"),
        ("0.3", r"merge\.alpha is '0\.3'"),
        (None, r"merge\.alpha is None"),
        ({"a": 0.5, "b": 2}, r"merge\.alpha\.b is 2"),
        ({"a": 0.6, "b": 0.5}, r"merge\.alpha adds up to 1\.1; expected at most 1"),
        ({"a": 0.5}, r"merge\.alpha gives no share to the donor 'b'"),
        ({}, r"merge\.alpha gives no share to the donor 'a'"),
        ({"a": 0.5, "b": 0.1, "bb": 0}, r"merge\.alpha names 'bb'; the donors are a, b\. Nearest: b"),
    ],
)
def test_anything_else_is_refused(alpha: object, message: str) -> None:
    with pytest.raises(AdammsError, match=message):
        donor_shares(alpha, ["a", "b"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shares", "rest"),
    [
        ([0.3], 0.7),
        ([0.3, 0.25], 1 - 0.55),
        ([1.0], 0.0),
        ([0.1] * 10, 0.0),
        ([0.5, 0.5 + 1e-9], 0.0),
        ([], 1),
    ],
)
def test_the_target_has_the_rest_and_no_rounding(shares: list[float], rest: float) -> None:
    assert target_share({str(i): share for i, share in enumerate(shares)}) == rest


def test_linear_gives_the_target_no_rounding() -> None:
    """Seven donors of 1/7 leave 2e-16, and shares by name may exceed 1 by 1e-9."""
    one = torch.ones(1, dtype=torch.float64)
    for share in (1 / 7, 1 / 7 + 1e-10):
        donors = {str(i): torch.zeros(1, dtype=torch.float64) for i in range(7)}
        chunk = Chunk("w", (1,), 0, one * 1e300, donors, None, dict.fromkeys(donors, share))
        assert Linear().merge(chunk) == 0


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0, 0.5])
def test_numbers_in_range_pass(alpha: float) -> None:
    check_alpha("alpha", alpha)
