"""What a search tries, from the configuration: candidates over alpha and any other number of `config.merge`.

Like `compose`, above the layers. Knows which keys there are and what they hold, not what they mean.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from adamms.errors import AdammsError, nearest
from adamms.merge.candidate import ALPHA, Candidate
from adamms.merge.shares import check_alpha
from adamms.search.candidates import Axis, grid, lattice

METHOD = "merge.method."
# What several coefficients are: where they may lie at most, and where they are searched if nothing is said.
LIMITS = {ALPHA: (0.0, 1.0), "factor": (0.0, math.inf), "alpha": (0.0, 1.0), "weights": (0.0, math.inf)}
USUAL = {ALPHA: (0.0, 1.0), "factor": (0.0, 2.0), "alpha": (0.0, 1.0), "weights": (0.0, 2.0)}
NAMES = (
    "name rules, merge.rules={attn: {roles: [attn], factor: 1}}, or weigh donors, merge.weights={a: 1, b: 1}"
)


def candidates_of(config: DictConfig) -> list[Candidate]:
    """The candidates of search.grid: alphas, or {key of merge: values}.

    Raises:
        AdammsError: a key that merge lacks or that holds no number, or values that do not increase.
    """
    given = _plain(config.search.grid)
    if isinstance(given, Mapping):
        keys = _keys(config, given, "search.grid")
        for key, values in zip(keys, given.values(), strict=True):
            if not isinstance(values, Sequence) or isinstance(values, str):
                raise AdammsError(f"search.grid: {key} is {values!r}; expected a list of numbers")
        return lattice(dict(zip(keys, given.values(), strict=True)))
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise AdammsError(f"search.grid is {given!r}; expected alphas, or {{key of merge: values}}")
    check_walks(config)
    for alpha in given:
        check_alpha("search.grid: alpha", alpha)
    return grid(given)


def space_of(config: DictConfig) -> dict[str, Axis]:
    """The coefficients of search.space: {key of merge: [lowest, highest]}.

    Null stands for alpha, the numbers of all named rules, and the donors' weights, where they are given.

    Raises:
        AdammsError: a key that is no coefficient or holds no number, or a range that is none or in which the
            number is not that merge has now.
    """
    held = _coefficients(config)
    given = _plain(config.search.space)
    if given is None:
        given = {key: list(USUAL[kind]) for key, (kind, _) in held.items()}
    if not isinstance(given, Mapping):
        raise AdammsError(f"search.space is {given!r}; expected {{key of merge: [lowest, highest]}}")
    found = {}
    for key, span in given.items():
        if key not in held:
            known = ", ".join(held)
            few = f" To have more, {NAMES}." if len(held) < 2 else ""
            raise AdammsError(
                f"search.space: {key!r} is no coefficient; these are {known}.{nearest(str(key), held)}{few}"
            )
        found[key] = _axis(key, span, *held[key])
    if len(found) < 2:
        raise AdammsError(
            f"search.space has {', '.join(found) or 'nothing'}; expected at least 2 keys: {NAMES}"
        )
    return found


def _coefficients(config: DictConfig) -> dict[str, tuple[str, float]]:
    """Key -> (its kind in LIMITS, the number that it holds now)."""
    check_walks(config)
    found = {ALPHA: (ALPHA, float(config.merge.alpha))}
    for key, value in _leaves(config.merge, "merge").items():
        parts = key.split(".")
        if parts[1] == "weights" and len(config.model.donors) < 2:
            continue
        if _is_number(value) and parts[1] in ("rules", "weights") and len(parts) > 2:
            kind = parts[-1] if parts[1] == "rules" else "weights"
            if kind in LIMITS:
                found[key] = (kind, float(value))  # type: ignore[arg-type]
    return found


def _axis(key: str, span: object, kind: str, now: float) -> Axis:
    least, most = LIMITS[kind]
    numbers = isinstance(span, Sequence) and len(span) == 2 and all(map(_is_number, span))
    if not numbers or not least <= span[0] < span[1] <= most or span[1] == math.inf:  # type: ignore[index]
        limits = f"in [{least:g}, {most:g}]" if most < math.inf else f"that are at least {least:g}"
        raise AdammsError(f"search.space: {key} is {span!r}; expected [lowest, highest], numbers {limits}")
    lowest, highest = map(float, span)  # type: ignore[call-overload]
    if kind != ALPHA and not lowest <= now <= highest:
        raise AdammsError(
            f"search.space: {key} is [{lowest:g}, {highest:g}], but {key}={now:g}; the search starts from "
            f"there, so the range must have it"
        )
    return Axis(lowest, highest, now)


def candidate_of(config: DictConfig) -> Candidate:
    """The one that `candidate` names: an alpha, or {key of merge: value}."""
    given = _plain(config.candidate)
    if isinstance(given, Mapping):
        if not given:
            raise AdammsError("candidate is {}; expected an alpha, or {key of merge: value}")
        settings = dict(zip(_keys(config, given, "candidate"), given.values(), strict=True))
        for key, value in settings.items():
            if key == ALPHA:
                check_alpha(f"candidate: {key}", value)
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise AdammsError(f"candidate: {key} is {value!r}; expected a number")
        return Candidate.of(settings)
    check_alpha("candidate", given)
    check_walks(config)
    return Candidate(given)


def configured(config: DictConfig, candidate: Candidate) -> DictConfig:
    """A copy of the configuration in which the candidate's settings are made."""
    copy = deepcopy(config)
    for key, value in candidate.settings.items():
        OmegaConf.update(copy, key, value, merge=False)
    return copy


def check_walks(config: DictConfig) -> None:
    """Raise AdammsError if merge.alpha is fixed for every donor where a search is to walk along it."""
    if isinstance(config.merge.alpha, DictConfig):
        raise AdammsError(
            "merge.alpha gives every donor its share, but a search walks along their share together; "
            "merge.weights={donor name: number} says how it is divided"
        )


def _keys(config: DictConfig, given: Mapping[Any, object], where: str) -> list[str]:
    """The full names of the keys given, `merge.density` standing for `merge.method.density` if need be.

    Raises:
        AdammsError: a key that merge lacks, that holds no number, or that is given twice.
    """
    held = _leaves(config.merge, "merge")
    found = [_key(held, str(key), where) for key in given]
    for key in found:
        if found.count(key) > 1:
            raise AdammsError(f"{where} gives {key} twice")
    if ALPHA in found:
        check_walks(config)
    return found


def _key(held: Mapping[str, object], key: str, where: str) -> str:
    if key == ALPHA:
        return key
    inner = key.replace("merge.", METHOD, 1)
    found = key if key in held or inner not in held else inner
    if found in held and (held[found] is None or _is_number(held[found])):
        return found
    outer = {name for name in held if name.replace(METHOD, "merge.", 1) not in held or METHOD not in name}
    numbers = [ALPHA, *(name for name in held if name in outer - {ALPHA} and _is_number(held[name]))]
    has = f"the numbers of merge are {', '.join(numbers)}"
    if found in held:
        raise AdammsError(f"{where}: {key} is {held[found]!r}, which is no number; {has}")
    raise AdammsError(f"{where}: unknown key {key!r}; {has}.{nearest(key, numbers)}")


def _leaves(node: DictConfig, where: str) -> dict[str, object]:
    """Full key -> what it holds, of everything below `node` that is no mapping."""
    found: dict[str, object] = {}
    for name in node:
        if not str(name).startswith("_") and not OmegaConf.is_missing(node, name):
            value, key = node[name], f"{where}.{name!s}"
            if isinstance(value, DictConfig):
                found |= _leaves(value, key)
            else:
                found[key] = _plain(value)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if isinstance(value, DictConfig | ListConfig) else value
