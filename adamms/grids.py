"""What a search tries, from the configuration: candidates over alpha and any other number of `config.merge`.

Like `compose`, above the layers. Knows which keys there are and what they hold, not what they mean.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from adamms.engines.responses import ALPHA, Candidate
from adamms.errors import AdammsError, nearest
from adamms.merge.coefficients import check_alpha
from adamms.search.candidates import grid, lattice

METHOD = "merge.method."


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
