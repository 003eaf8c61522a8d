"""From plain configuration values to objects, checked once by pydantic against annotations.

Knows no group of the configuration and no mode. What is said of a wrong value is in `wrong_values`.
"""

import json
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from adamms.app.config.wrong_values import explained, join, no_value, unknown_key
from adamms.errors import AdammsError

TARGET, MISSING = "_target_", "???"
CONFIG = ConfigDict(
    extra="forbid",
    frozen=True,
    strict=True,
    allow_inf_nan=False,
    arbitrary_types_allowed=True,
    protected_namespaces=(),
)


class Section(BaseModel):
    """A part of the configuration that describes no object: its keys and the types of their values."""

    model_config = CONFIG


AnySection = TypeVar("AnySection", bound=BaseModel)


@dataclass(frozen=True)
class Missing:
    """Stands for an object that cannot be built because a key has no value; its use is an error.

    Args:
        key: the full key, e.g. "data.path".
        why: what else there is to say.
    """

    key: str
    why: str = ""

    @property
    def error(self) -> AdammsError:
        """That the key has no value."""
        return no_value(self.key, self.why)

    def __getattr__(self, name: str) -> Any:
        raise self.error

    def __call__(self, *_: object) -> Any:
        raise self.error


def build(
    node: Mapping[str, Any] | None, where: str, besides: Iterable[str] = (), kind: type = object
) -> Any:
    """The object that a node with `_target_` describes; None for null, `Missing` where a value is not given.

    Args:
        kind: a protocol or class, whose methods and attributes the object must have.
        node, where, besides: as of `prepared`, and so are the errors.
    """
    if node is None:
        return None
    missing = next((name for name, value in node.items() if value == MISSING), None)
    call = prepared(node, where, besides)
    if missing is not None:
        return Missing(join(where, missing))
    built = call()
    _check_kind(built, kind, where)
    return built


def prepared(node: Mapping[str, Any], where: str, besides: Iterable[str] = ()) -> Callable[[], Any]:
    """What a node with `_target_` describes, checked and ready to be called.

    Args:
        node: plain values; nodes in it that have a `_target_` themselves are built.
        where: the node's full key, for messages.
        besides: keys of the same node that somebody else reads, for messages.

    Raises:
        AdammsError: a class that does not exist, an unknown key, or a value of another type or out of range.
    """
    target = found_by_name(node.get(TARGET), where)
    missing = [name for name, value in node.items() if value == MISSING]
    given = {
        name: _with_objects(value, join(where, name))
        for name, value in node.items()
        if name != TARGET and value != MISSING
    }
    return partial(target, **checked_arguments(target, given, where, besides, absent=missing))


def checked_arguments(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    where: str,
    besides: Iterable[str] = (),
    absent: Collection[str] = (),
) -> dict[str, Any]:
    """The values for `target`'s parameters, checked against its annotations.

    Args:
        target: a class or function with annotated parameters.
        values: parameter name -> plain value, or an object that is built already.
        where: the full key of what holds them, for messages.
        besides: names that are known without being parameters, for messages.
        absent: parameters that need not be there yet.

    Raises:
        AdammsError: an unknown, missing or wrong value.
    """
    hints = get_type_hints(_annotated(target), include_extras=True)
    try:
        parameters = signature(target).parameters
    except ValueError as error:
        raise AdammsError(f"{where} names {target.__name__}, whose parameters are not known") from error
    skipped = {name for name in parameters if name in absent or _is_built(values.get(name))}
    fields: dict[str, Any] = {}
    for name, parameter in parameters.items():
        default = ... if parameter.default is Parameter.empty else parameter.default
        fields[name] = (Any, None) if name in skipped else (hints.get(name, Any), default)
    with warnings.catch_warnings():  # a parameter may be called like a method of pydantic's models
        warnings.simplefilter("ignore", UserWarning)
        schema = create_model(target.__name__, __config__=CONFIG, **fields)
    for name in values:
        if name in skipped:
            _check_kind(values[name], hints.get(name), join(where, name))
    plain = {name: value for name, value in values.items() if name not in skipped}
    section = validated(schema, plain, where, besides)
    return {name: values[name] if name in skipped else getattr(section, name) for name in values}


def _annotated(target: Callable[..., Any]) -> Any:
    """What holds the annotations of a target's parameters: a function, or a dataclass by its fields.

    Each field is read in the module of the class that has it.
    """
    if not isinstance(target, type):
        return target
    first = next(kind for kind in target.__mro__ if "__init__" in vars(kind))
    made = vars(first).get("__dataclass_params__")
    return target if first is object or (made and made.init) else vars(first)["__init__"]


def validated(
    schema: type[AnySection], values: Mapping[str, Any], where: str, besides: Iterable[str] = ()
) -> AnySection:
    """The values as an instance of a pydantic model.

    They are checked as JSON is in strict mode: a list may become a tuple and a text a path, but no text
    becomes a number.

    Raises:
        AdammsError: an unknown, missing or wrong value.
    """
    known = schema.model_fields
    for name in values:
        if name not in known:
            raise unknown_key(join(where, name), name, [*known, *besides])
    for name, field in known.items():
        if field.is_required() and name not in values:
            key = join(where, name)
            raise AdammsError(
                f"{key} is missing; write it into the YAML, give +{key}=..., or leave ~{key} out"
            )
    try:
        section = schema.model_validate_json(json.dumps(values, default=repr))
    except ValidationError as error:
        raise AdammsError(explained(error, schema, values, where)) from error
    paths = {name: value.expanduser() for name, value in section if isinstance(value, Path)}
    return section.model_copy(update=paths)


def split(schema: type[AnySection], node: Mapping[str, Any], where: str) -> tuple[AnySection, dict[str, Any]]:
    """The keys of a group that its schema has, checked; and the others, which an object takes."""
    common = {key: value for key, value in node.items() if key in schema.model_fields}
    return validated(schema, common, where), {key: node[key] for key in node if key not in common}


def found_by_name(name: object, where: str) -> Any:
    """The class or function with this full name.

    Raises:
        AdammsError: there is none.
    """
    if name is None:
        group = where.replace(".", "/")
        raise AdammsError(f"{where} has no _target_; choose an option of its group: {group}=...")
    try:
        found = resolve_name(str(name))
    except (ImportError, AttributeError, ValueError) as error:
        raise AdammsError(f"{where} names {name!r}, which cannot be imported: {error}") from error
    if not callable(found):
        raise AdammsError(f"{where} names {name!r}, which is a {type(found).__name__}; expected a class")
    return found


def _check_kind(built: Any, kind: Any, where: str) -> None:
    """Raise AdammsError unless an object has all that its kind, a protocol or class, says."""
    if isinstance(built, Missing) or not isinstance(kind, type) or kind in type(built).__mro__:
        return
    said = {*dir(kind), *get_type_hints(kind)}
    public = sorted(name for name in said if name == "__call__" or not name.startswith("_"))
    if lacking := [name for name in public if not hasattr(built, name)]:
        raise AdammsError(
            f"{where} is a {type(built).__name__} without {', '.join(lacking)}; expected all that "
            f"{kind.__module__}.{kind.__qualname__} has"
        )


def _with_objects(value: Any, where: str) -> Any:
    """The value with every node that has a `_target_` built."""
    if isinstance(value, Mapping) and TARGET in value:
        return build(value, where)
    if isinstance(value, Mapping) and any(isinstance(v, Mapping) and TARGET in v for v in value.values()):
        return {name: _with_objects(item, join(where, name)) for name, item in value.items()}
    if isinstance(value, list) and any(isinstance(item, Mapping) and TARGET in item for item in value):
        return [_with_objects(item, f"{where}[{place}]") for place, item in enumerate(value)]
    return value


def _is_built(value: Any) -> bool:
    if isinstance(value, list | Mapping):
        return any(map(_is_built, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, str | int | float | None)
