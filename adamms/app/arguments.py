"""Checks configured values against the signature that they are meant for.

A constructor's annotations are the schema of its config node, so nothing has to be written twice.
"""

import math
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from adamms.errors import AdammsError, nearest

WORDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


def check_arguments(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    where: str,
    names: Mapping[str, str] | None = None,
    extra: Collection[str] = (),
) -> dict[str, Any]:
    """The values for `target`'s parameters, with texts for paths turned into paths.

    Args:
        target: a class or function with annotated parameters.
        values: parameter name -> configured value.
        where: the config node, for messages.
        names: parameter name -> the full key that its value was read from, where that is another one.
        extra: names that are known without being parameters.

    Raises:
        AdammsError: an unknown parameter (with the nearest), or a value of another type or out of range.
    """
    known = signature(target).parameters
    function = vars(target).get("__init__", target) if isinstance(target, type) else target
    hints = get_type_hints(function, include_extras=True)
    choices = list(dict.fromkeys([*known, *extra]))
    for name in values:
        if name not in choices:
            key = _key(where, name)
            raise AdammsError(f"unknown key {key}; expected {', '.join(choices)}.{nearest(name, choices)}")
    checked = {}
    for name, value in values.items():
        hint = hints.get(name, Parameter.empty)
        if not _matches(value, hint):
            key = (names or {}).get(name, _key(where, name))
            raise AdammsError(f"{key} is {_shown(value)}; expected {_words(hint)}{_nearest(value, hint)}")
        is_path = hint is Path or (Path in get_args(hint) and str not in get_args(hint))
        checked[name] = Path(value).expanduser() if is_path and isinstance(value, str) else value
    return checked


def _key(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)


def _matches(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object, Parameter.empty):
        return True
    if origin is Annotated:
        return _matches(value, inner[0]) and _within(value, inner[1:])
    if origin in (Union, types.UnionType):
        return any(_matches(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if hint is type(None):
        return value is None
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    if hint in (int, str):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str | Path)
    if origin in (tuple, list, Sequence):
        items = isinstance(value, Sequence) and not isinstance(value, str)
        return items and all(_matches(item, inner[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _matches(key, inner[0]) and _matches(item, inner[1]) for key, item in value.items()
        )
    # An object, which another node describes, in a list that node itself; what is plain describes none.
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    return not isinstance(value, str | int | float | Sequence | Mapping | None)


def _words(hint: Any) -> str:
    """The type in words: 'a whole number or null', 'a list of a text'."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_words(inner[0])} {_range(inner[1:])}".rstrip()
    if origin in (Union, types.UnionType):
        return " or ".join(_words(option) for option in inner)
    if origin is Literal:
        return "one of " + ", ".join(str(option) for option in inner)
    if origin in (tuple, list, Sequence):
        return f"a list of {_words(inner[0])}"
    if origin is Mapping:
        return "a mapping" if inner[1] is Any else f"{{name: {_words(inner[1])}}}"
    return WORDS.get(hint, "a mapping with _target_, as the options of its group have")


def _nearest(value: Any, hint: Any) -> str:
    """'. Nearest: X.' where one of a few words is expected."""
    options = [hint, *get_args(hint)]
    words = [word for o in options if get_origin(o) is Literal for word in get_args(o)]
    return f".{found}" if (found := nearest(str(value), map(str, words))) else ""


def _within(value: Any, limits: Sequence[Any]) -> bool:
    return all(
        (not isinstance(limit, Gt) or value > limit.gt)
        and (not isinstance(limit, Ge) or value >= limit.ge)
        and (not isinstance(limit, Le) or value <= limit.le)
        and (not isinstance(limit, Lt) or value < limit.lt)
        for limit in limits
    )


def _range(limits: Sequence[Any]) -> str:
    words = [f"above {x.gt}" for x in limits if isinstance(x, Gt)]
    words += [f"at least {x.ge}" for x in limits if isinstance(x, Ge)]
    words += [f"below {x.lt}" for x in limits if isinstance(x, Lt)]
    return " and ".join([*words, *(f"at most {x.le}" for x in limits if isinstance(x, Le))])
