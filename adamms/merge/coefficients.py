"""Coefficients: alpha, the donors' share, checked and given to each donor.

alpha is a number, or one number per donor by name. 0 leaves the target unchanged.
"""

import math
from collections.abc import Mapping, Sequence

from adamms.errors import AdammsError, nearest


def donor_shares(alpha: float | Mapping[str, float], donors: Sequence[str]) -> dict[str, float]:
    """Donor name -> its alpha.

    A single number is the donors' share together, divided equally among them, so that the target
    always keeps 1 - alpha.

    Raises:
        AdammsError: an alpha outside [0, 1], shares that add up to more than 1, or names that are not
            exactly the donors'.
    """
    if not isinstance(alpha, Mapping):
        check_alpha("merge.alpha", alpha)
        return dict.fromkeys(donors, alpha / len(donors))
    for name in alpha:
        if name not in donors:
            raise AdammsError(
                f"merge.alpha names {name!r}; the donors are {', '.join(donors)}.{nearest(name, donors)}"
            )
    missing = [name for name in donors if name not in alpha]
    if missing:
        raise AdammsError(f"merge.alpha gives no share to the donor {missing[0]!r}")
    for name, share in alpha.items():
        check_alpha(f"merge.alpha.{name}", share)
    total = math.fsum(alpha.values())
    if total > 1 + 1e-9:
        raise AdammsError(f"merge.alpha adds up to {total:g}; expected at most 1, the target keeps the rest")
    return {name: float(alpha[name]) for name in donors}


def check_alpha(what: str, alpha: object) -> None:
    """Raise AdammsError unless `alpha` is a number in [0, 1]."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise AdammsError(f"{what} is {alpha!r}; expected a number in [0, 1], the donor's share")
