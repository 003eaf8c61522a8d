"""Shares of the donors, and what is no share."""

import pytest

from adamms.errors import AdammsError
from adamms.merge.shares import check_alpha, donor_shares


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


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0, 0.5])
def test_numbers_in_range_pass(alpha: float) -> None:
    check_alpha("alpha", alpha)
