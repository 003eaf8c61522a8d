"""What a search tries: candidates over alpha and any other number of the merge.

Knows which keys the merge has and what they hold, not what they mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adamms.errors import AdammsError, nearest
from adamms.merge.candidate import ALPHA, Candidate
from adamms.merge.shares import check_alpha
from adamms.search.candidates import Axis, grid, lattice

# Kind of coefficient -> the range that it must lie in, and the range that is searched by default.
LIMITS = {ALPHA: (0.0, 1.0), "factor": (0.0, math.inf), "alpha": (0.0, 1.0), "weights": (0.0, math.inf)}
DEFAULTS = {ALPHA: (0.0, 1.0), "factor": (0.0, 2.0), "alpha": (0.0, 1.0), "weights": (0.0, 2.0)}
NAMES = (
    "name rules, merge.rules={attn: {roles: [attn], factor: 1}}, or weigh donors, merge.weights={a: 1, b: 1}"
)

Node = Mapping[str, Any]


def candidates_of(given: object, merge: Node) -> list[Candidate]:
    """The candidates of search.grid.

    Args:
        given: alphas, or {key of merge: values}.
        merge: the values of the group `merge`.

    Raises:
        AdammsError: a key that merge lacks or that holds no number, or values that do not increase.
    """
    if isinstance(given, Mapping):
        keys = _keys(merge, given, "search.grid")
        for key, values in zip(keys, given.values(), strict=True):
            if not isinstance(values, list):
                raise AdammsError(f"search.grid: {key} is {values!r}; expected a list of numbers")
        return lattice(dict(zip(keys, given.values(), strict=True)))
    if not isinstance(given, list):
        raise AdammsError(f"search.grid is {given!r}; expected alphas, or {{key of merge: values}}")
    check_alpha_is_common(merge)
    for alpha in given:
        check_alpha("search.grid: alpha", alpha)
    return grid(given)


def candidate_of(given: object, merge: Node) -> Candidate:
    """The candidate that the key `candidate` names: an alpha, or {key of merge: value}."""
    if isinstance(given, Mapping):
        if not given:
            raise AdammsError("candidate is {}; expected an alpha, or {key of merge: value}")
        settings = dict(zip(_keys(merge, given, "candidate"), given.values(), strict=True))
        for key, value in settings.items():
            if key == ALPHA:
                check_alpha(f"candidate: {key}", value)
            elif not _is_number(value):
                raise AdammsError(f"candidate: {key} is {value!r}; expected a number")
        return Candidate.of(settings)
    check_alpha("candidate", given)
    check_alpha_is_common(merge)
    assert isinstance(given, int | float)
    return Candidate(given)


def space_of(given: object, merge: Node, donors: int) -> dict[str, Axis]:
    """The coefficients of search.space: {key of merge: [lowest, highest]}.

    Args:
        given: the space; None for alpha, the numbers of all named rules, and the weights of several donors.
        merge: the values of the group `merge`.
        donors: how many there are.

    Raises:
        AdammsError: a key that is no coefficient, or a range that is invalid or that merge's current value
            lies outside of.
    """
    held = coefficients(merge, donors)
    if given is None:
        given = {key: list(DEFAULTS[kind]) for key, (kind, _) in held.items()}
    if not isinstance(given, Mapping):
        raise AdammsError(f"search.space is {given!r}; expected {{key of merge: [lowest, highest]}}")
    found = {}
    for key, span in given.items():
        if key not in held:
            few = f" To have more, {NAMES}." if len(held) < 2 else ""
            raise AdammsError(
                f"search.space: {key!r} is no coefficient; these are {', '.join(held)}."
                f"{nearest(str(key), held)}{few}"
            )
        found[key] = _axis(key, span, *held[key])
    if len(found) < 2:
        raise AdammsError(
            f"search.space has {', '.join(found) or 'nothing'}; expected at least 2 keys: {NAMES}"
        )
    return found


def check_alpha_is_common(merge: Node) -> None:
    """Raise AdammsError if merge.alpha is fixed for every donor, where a search varies their sum."""
    if isinstance(merge["alpha"], Mapping):
        raise AdammsError(
            "merge.alpha gives every donor its share, but a search varies their share together; "
            "merge.weights={donor name: number} says how it is divided"
        )


def coefficients(merge: Node, donors: int) -> dict[str, tuple[str, float]]:
    """Alpha, the numbers of named rules and the weights of several donors.

    Returns:
        Key -> its kind in LIMITS, and the number that it holds now.
    """
    check_alpha_is_common(merge)
    found = {ALPHA: (ALPHA, float(merge["alpha"]))}
    for key, value in _leaves(merge, "merge").items():
        _, group, *rest = key.split(".")
        kind = group
        if group == "rules" and rest:  # merge.rules.NAME.factor, merge.rules.NAME.weights.DONOR
            kind = "weights" if rest[-2:-1] == ["weights"] else rest[-1]
        searched = group == "rules" or (group == "weights" and donors > 1)
        if searched and rest and kind in LIMITS and isinstance(value, int | float) and _is_number(value):
            found[key] = (kind, float(value))
    return found


def _axis(key: str, span: Any, kind: str, now: float) -> Axis:
    least, most = LIMITS[kind]
    numbers = isinstance(span, Sequence) and len(span) == 2 and all(map(_is_number, span))
    if not numbers or not least <= span[0] < span[1] <= most or span[1] == math.inf:
        limits = f"in [{least:g}, {most:g}]" if most < math.inf else f"that are at least {least:g}"
        raise AdammsError(f"search.space: {key} is {span!r}; expected [lowest, highest], numbers {limits}")
    lowest, highest = map(float, span)
    if kind != ALPHA and not lowest <= now <= highest:
        raise AdammsError(
            f"search.space: {key} is [{lowest:g}, {highest:g}], but {key}={now:g}; the search starts from "
            f"there, so the range must have it"
        )
    return Axis(lowest, highest, now)


def _keys(merge: Node, given: Mapping[Any, object], where: str) -> list[str]:
    """The keys given, checked.

    Raises:
        AdammsError: a key that merge lacks, or that holds no number.
    """
    held = _leaves(merge, "merge")
    numbers = [ALPHA, *(key for key, value in held.items() if key != ALPHA and _is_number(value))]
    has = f"the numbers of merge are {', '.join(numbers)}"
    for key in given:
        if key == ALPHA:
            check_alpha_is_common(merge)
        elif key not in held:
            raise AdammsError(f"{where}: unknown key {str(key)!r}; {has}.{nearest(str(key), numbers)}")
        elif held[key] is not None and not _is_number(held[key]):
            raise AdammsError(f"{where}: {key} is {held[key]!r}, which is no number; {has}")
    return list(map(str, given))


def _leaves(node: Node, where: str) -> dict[str, object]:
    """Full key -> value, of everything below `node` that is no mapping."""
    found: dict[str, object] = {}
    for name, value in node.items():
        if not str(name).startswith("_"):
            key = f"{where}.{name}"
            found |= _leaves(value, key) if isinstance(value, Mapping) else {key: value}
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
