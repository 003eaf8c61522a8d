"""Checks configured values against the signature that they are meant for.

A constructor's annotations are the schema of its config node, so nothing has to be written twice.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from adamms.errors import AdammsError, nearest


def check_arguments(target: Callable[..., Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values for `target`'s parameters, with texts for paths turned into paths.

    Args:
        target: a class or function with annotated parameters.
        values: parameter name -> configured value.
        where: the config node, for messages.

    Raises:
        AdammsError: an unknown parameter (with the nearest), or a value of another type.
    """
    known = signature(target).parameters
    hints = get_type_hints(vars(target).get("__init__", target) if isinstance(target, type) else target)
    for name in values:
        if name not in known:
            raise AdammsError(
                f"unknown key {where}.{name}; expected {', '.join(known)}.{nearest(name, known)}"
            )
    checked = {}
    for name, value in values.items():
        hint = hints.get(name, Parameter.empty)
        if not _matches(value, hint):
            raise AdammsError(f"{where}.{name} is {value!r}; expected {_words(hint)}")
        is_path = hint is Path or (Path in get_args(hint) and str not in get_args(hint))
        checked[name] = Path(value).expanduser() if is_path and isinstance(value, str) else value
    return checked


def _matches(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_matches(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if hint is type(None):
        return value is None
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float)
    if hint in (int, str):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str | Path)
    if origin in (tuple, list, Sequence):
        items = isinstance(value, Sequence) and not isinstance(value, str)
        return items and all(_matches(item, inner[0]) for item in value)
    return True  # objects that other nodes describe, and parameters without a simple type


def _words(hint: Any) -> str:
    """The type in words: 'int or null', 'a list of str'."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(option) for option in inner)
    if origin is Literal:
        return "one of " + ", ".join(str(option) for option in inner)
    if hint is type(None):
        return "null"
    if origin in (tuple, list, Sequence):
        return f"a list of {_words(inner[0])}"
    words = {bool: "true or false", float: "a number", int: "a whole number", str: "a text", Path: "a path"}
    return words.get(hint, str(hint))
