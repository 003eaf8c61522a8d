"""Objects from plain nodes: what is passed on, and what is said of wrong values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import pytest
from annotated_types import Gt, Le
from pydantic import PositiveInt

from adamms.app.config.build import Missing, build
from adamms.engines.transformers.engine import Transformers
from adamms.errors import AdammsError


@runtime_checkable
class Shape(Protocol):
    def area(self) -> float: ...


@dataclass(frozen=True)
class Square:
    side: float

    def area(self) -> float:
        return self.side**2


@dataclass(frozen=True)
class Box:
    count: PositiveInt
    share: Annotated[float, Gt(0), Le(1)] = 1.0
    kind: Literal["open", "closed"] = "open"
    names: tuple[str, ...] = ()
    folder: Path | None = None
    sizes: Mapping[str, float] | None = None
    lid: Shape | None = None
    parts: Sequence[Shape] = ()
    json: bool = False  # as a method of pydantic's models is called


HERE = __name__


def box(**values: Any) -> Any:
    return build({"_target_": f"{HERE}.Box", "count": 1} | values, "group.box")


def square(side: float) -> dict[str, Any]:
    return {"_target_": f"{HERE}.Square", "side": side}


@dataclass(frozen=True, kw_only=True)
class OwnEngine(Transformers):
    """Of a class whose annotations are read when they are asked for, with names that this module has not."""

    rate: PositiveInt


def test_a_class_may_be_derived_from_one_in_another_module() -> None:
    with pytest.raises(AdammsError, match=r"^engine\.batch_size is missing; "):
        build({"_target_": f"{__name__}.OwnEngine", "rate": 1}, "engine")


class Tile(Square):
    """Derived from a dataclass, with parameters of its own."""

    def __init__(self, width: PositiveInt) -> None:
        super().__init__(side=width)


class Slab(Tile):
    """With those of the class before."""


@pytest.mark.parametrize("name", ["Tile", "Slab"])
def test_parameters_of_ones_own_are_checked_in_a_class_that_is_derived_from_a_dataclass(name: str) -> None:
    assert build({"_target_": f"{__name__}.{name}", "width": 3}, "lid").side == 3
    with pytest.raises(AdammsError, match=r"lid\.width"):
        build({"_target_": f"{__name__}.{name}", "width": "a"}, "lid")


def test_values_arrive_as_the_types_that_are_annotated() -> None:
    made = box(
        share=1, names=["a", "b"], folder="~/x", sizes={"a": 2}, lid=square(3), parts=[square(1)], json=True
    )
    expected = Box(
        1, 1.0, "open", ("a", "b"), Path("~/x").expanduser(), {"a": 2.0}, Square(3), [Square(1)], True
    )
    assert made == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "group.box.count is 0; expected a number above 0"),
        ({"count": True}, "group.box.count is True; expected a whole number"),
        ({"count": "1"}, "group.box.count is '1'; expected a whole number"),
        ({"share": 1.5}, "group.box.share is 1.5; expected a number of at most 1"),
        ({"share": float("nan")}, "group.box.share is nan; expected a finite number"),
        ({"kind": "opne"}, "group.box.kind is 'opne'; expected one of open, closed. Nearest: open."),
        ({"names": ["a", 1]}, "group.box.names[1] is 1; expected a text"),
        ({"names": "a"}, "group.box.names is 'a'; expected a list"),
        ({"folder": 1}, "group.box.folder is 1; expected a path or null"),
        ({"sizes": {"a": "b"}}, "group.box.sizes.a is 'b'; expected a number"),
        ({"lid": "round"}, "group.box.lid is 'round'; expected a mapping with _target_, as the options of"),
        ({"lid": square(1) | {"sied": 2}}, "unknown key group.box.lid.sied; expected side. Nearest: side."),
        ({"parts": [square(1), {"_target_": "no.such.Class"}]}, "group.box.parts[1] names 'no.such.Class'"),
        ({"shar": 1}, "unknown key group.box.shar; expected count, share, kind, "),
        ({"_target_": f"{HERE}.Bxo"}, "which cannot be imported"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_expected(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(AdammsError, match=f"^{re.escape(message)}" if "import" not in message else message):
        box(**values)


def test_an_object_without_a_value_that_it_needs_says_so_when_it_is_used() -> None:
    found = box(count="???")
    assert isinstance(found, Missing)
    with pytest.raises(AdammsError, match=r"^group\.box\.count has no value; give it as group\.box\.count="):
        found.count  # noqa: B018
    with pytest.raises(
        AdammsError, match=r"group\.box\.share is 2"
    ):  # what is given is looked at all the same
        box(count="???", share=2)
    with pytest.raises(AdammsError, match=r"group\.box\.count is missing"):
        build({"_target_": f"{HERE}.Box"}, "group.box")
    assert build(None, "group.box") is None
