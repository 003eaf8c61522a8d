"""How alpha is shared: the part that each donor has in the merged model.

A share is a model's part, in [0, 1]; alpha is the donors' share together; the target has the rest. Knows
nothing of tensors: where the shares differ between tensors is in `rules`.
"""

import math
from collections.abc import Mapping, Sequence

from adamms.errors import AdammsError, nearest


def donor_shares(
    alpha: float | Mapping[str, float], donors: Sequence[str], weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Donor name -> its alpha_d, of theta = (1 - sum alpha_d) * theta_target + sum alpha_d * f_d(theta_d).

    >>> donor_shares(0.5, ["a", "b"], {"a": 3, "b": 1})
    {'a': 0.375, 'b': 0.125}

    A single number is divided among the donors by `weights`, so that the target keeps 1 - alpha whatever
    their number. With one donor it is the paper's alpha. The authors' scripts for three models scale them
    one after the other, by (1 - alpha) * gamma and the like: such shares are given by name. Where a donor
    has no counterpart of a tensor, the target takes its share of that tensor.

    Args:
        alpha: the donors' share together, or donor name -> share.
        donors: the names.
        weights: donor name -> its part of alpha, relative to the others'; None for equal parts.

    Raises:
        AdammsError: an alpha outside [0, 1], shares that add up to more than 1, weights that are negative
            or all zero or stand beside shares by name, or names other than the donors'.
    """
    if isinstance(alpha, Mapping):
        if weights is not None:
            raise AdammsError(
                "merge.alpha gives every donor its share, so merge.weights has nothing to divide; give one"
            )
        return _shares_by_name(alpha, donors)
    check_alpha("merge.alpha", alpha)
    if weights is None:
        return dict.fromkeys(donors, alpha / len(donors))
    _check_names("merge.weights", weights, donors)
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise AdammsError(f"merge.weights.{name} is {weight!r}; expected a number that is not negative")
    total = math.fsum(weights.values())
    if total <= 0:
        raise AdammsError(f"merge.weights are all zero; expected one above zero among {', '.join(donors)}")
    return {name: float(alpha * (weights[name] / total)) for name in donors}


def target_share(shares: Mapping[str, float]) -> float:
    """What the donors' shares leave to the target; a rest below 1e-12, or below 0, is rounding: it is 0.

    >>> target_share({"a": 0.25}), target_share(dict.fromkeys("abcdefg", 1 / 7))
    (0.75, 0.0)
    """
    rest = 1 - sum(shares.values())
    return rest if rest > 1e-12 else 0.0


def positive(shares: Mapping[str, float]) -> dict[str, float]:
    """Those above zero."""
    return {name: share for name, share in shares.items() if share > 0}


def check_alpha(what: str, alpha: object) -> None:
    """Raise AdammsError unless `alpha` is a number in [0, 1]."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise AdammsError(f"{what} is {alpha!r}; expected a number in [0, 1], the donor's share")


def _shares_by_name(alpha: Mapping[str, float], donors: Sequence[str]) -> dict[str, float]:
    _check_names("merge.alpha", alpha, donors)
    for name, share in alpha.items():
        check_alpha(f"merge.alpha.{name}", share)
    total = math.fsum(alpha.values())
    if total > 1 + 1e-9:
        raise AdammsError(f"merge.alpha adds up to {total:g}; expected at most 1, the target keeps the rest")
    return {name: float(alpha[name]) for name in donors}


def _check_names(what: str, given: Mapping[str, float], donors: Sequence[str]) -> None:
    """Raise AdammsError unless the names in `given` are the donors'."""
    for name in given:
        if name not in donors:
            raise AdammsError(
                f"{what} names {name!r}; the donors are {', '.join(donors)}.{nearest(str(name), donors)}"
            )
    missing = [name for name in donors if name not in given]
    if missing:
        noun = "share" if what == "merge.alpha" else "weight"
        raise AdammsError(f"{what} gives no {noun} to the donor {missing[0]!r}")
