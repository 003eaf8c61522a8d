"""What is said of a wrong value: its full key, what was given, what is expected, the nearest valid choice.

Knows pydantic's errors, and no key.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from adamms.errors import AdammsError, nearest

OBJECT = "a mapping with _target_, as the options of its group have"
# pydantic's kind of error -> what is expected; {} takes the error's context.
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "missing": "more items",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "literal_error": "one of {expected}",
    "needs_python_object": OBJECT,
    "is_instance_of": OBJECT,
    "callable_type": OBJECT,
}


def explained(error: ValidationError, schema: type[BaseModel], values: Mapping[str, Any], where: str) -> str:
    """The first wrong value; where several types are possible, what each of them expects."""
    found = [(_place(one["loc"], values), one) for one in error.errors(include_url=False)]
    deepest = max((place for place, _ in found), key=len)
    key, given = where, values
    for step in deepest:
        key = f"{key}[{step}]" if isinstance(step, int) else join(key, step)
        given = given[step]
    wanted, choices = [], []
    for place, one in found:
        if place == deepest:
            context = dict(one.get("ctx", {}))
            words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            choices += words
            context["expected"] = ", ".join(words)
            known = EXPECTED.get(one["type"])
            wanted.append(one["msg"] if known is None else known.format(**context))
    if len(deepest) == 1:  # pydantic does not say that null would do, nor that a text is a path
        hint = schema.model_fields[deepest[0]].annotation
        kinds = get_args(hint) or (hint,)
        wanted = ["a path" if Path in kinds and each == "a text" else each for each in wanted]
        if str in kinds and isinstance(given, str):
            wanted = [f"a list, as in {key}=[{given}]" if each == "a list" else each for each in wanted]
        wanted += ["null"] if type(None) in kinds else []
    shown = "null" if given is None else repr(given)
    near = nearest(str(given), choices)
    return f"{key} is {shown}; expected {' or '.join(dict.fromkeys(wanted))}{f'.{near}' if near else ''}"


def _place(location: Sequence[Any], values: Any) -> tuple[Any, ...]:
    """Keys and indices down to a value; pydantic's location without the branches of unions in it."""
    place = []
    for step in location:
        inside = isinstance(values, Mapping) and step in values
        if inside or (isinstance(values, Sequence) and isinstance(step, int) and step < len(values)):
            place.append(step)
            values = values[step]
    return tuple(place)


def unknown_key(key: str, name: str, known: Iterable[str]) -> AdammsError:
    names = list(known)
    return AdammsError(f"unknown key {key}; expected {', '.join(names)}.{nearest(name, names)}")


def no_value(key: str, why: str = "") -> AdammsError:
    return AdammsError(f"{key} has no value; {why or f'give it as {key}=...'}")


def join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)
