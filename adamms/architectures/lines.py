"""One line of a spec: a pattern of tensor names, and what such a tensor is.

`spec` says what the language is, and reads it from files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen
from pydantic import BaseModel, ConfigDict, Discriminator, NonNegativeInt, PositiveInt, Tag

from adamms.architectures.label import Fused, Label, Stacked
from adamms.architectures.roles import EXPERTS, Role, parse_role
from adamms.errors import AdammsError

_PLACES = {"{i}": r"(?P<i>\d+)", "{e}": r"(?P<e>\d+)", "{p}": r"(?P<p>weight|bias)"}
_WILDCARDS = {**_PLACES, "**": r".+", "*": r"[^.]+", ".": r"\."}


class Fusion(BaseModel):
    """A fusion of several roles, as the YAML writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concat: Annotated[tuple[str, ...], MinLen(2)]
    dim: NonNegativeInt
    sizes: tuple[PositiveInt | str, ...] = ()
    groups: PositiveInt | str = 1


class Leading(BaseModel):
    """A role that only the leading rows of a tensor have, as the YAML writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: str
    rows: PositiveInt


def _kind(role: object) -> str:
    if isinstance(role, dict) and "role" in role:
        return "Leading"
    if isinstance(role, dict):
        return "Stack" if "stack" in role or "transposed" in role else "Fusion"
    return type(role).__name__ if isinstance(role, BaseModel) else "str"


_One = Annotated[Annotated[str, Tag("str")] | Annotated[Fusion, Tag("Fusion")], Discriminator(_kind)]


class Stack(BaseModel):
    """All experts in one tensor, as the YAML writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stack: _One
    transposed: bool | None = None


Template = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[Fusion, Tag("Fusion")]
    | Annotated[Stack, Tag("Stack")]
    | Annotated[Leading, Tag("Leading")],
    Discriminator(_kind),
]


@dataclass(frozen=True)
class Line:
    """One pattern of a spec with what it stands for: role templates, alone or in one tensor, or a reason."""

    pattern: re.Pattern[str]
    role: str | Fusion | Stack | Leading | None = None
    reason: str = ""

    def label(self, name: str) -> Label | None:
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        match self.role:
            case None:
                return Label(None, reason=self.reason)
            case Stack(stack=each, transposed=transposed):
                return Label(Stacked(_filled(each, groups), transposed))
            case Leading(role=one, rows=rows):
                return Label(_filled(one, groups), rows=rows)
            case one:
                return Label(_filled(one, groups))


def check_roles(pattern: str, role: str | Fusion | Stack | Leading) -> None:
    """Raise AdammsError unless what `pattern` stands for names roles, as many as it says."""
    one = role.stack if isinstance(role, Stack) else role.role if isinstance(role, Leading) else role
    filled = _filled(one, {"i": "0", "e": "0", "p": "weight"})
    if isinstance(one, Fusion) and one.sizes and len(one.sizes) != len(one.concat):
        sizes = list(one.sizes)
        raise AdammsError(f"{pattern}: sizes is {sizes}; expected one for each of {len(one.concat)} parts")
    if isinstance(role, Stack):
        for part in Label(filled).parts:
            if part.kind not in EXPERTS or part.expert is not None:
                raise AdammsError(
                    f"{pattern}: stack has {part}; expected roles of experts without a number, "
                    f"such as layers.{{i}}.moe.expert.gate.weight"
                )


def compile_pattern(pattern: str, prefixes: tuple[Mapping[str, str], ...]) -> re.Pattern[str]:
    """The regular expression of a pattern, its leading text replaced as each of `prefixes` says."""
    for replacements in prefixes:
        leading = next((text for text in replacements if pattern.startswith(text)), None)
        if leading is not None:
            pattern = replacements[leading] + pattern.removeprefix(leading)
    pieces = re.split(r"(\{i\}|\{e\}|\{p\}|\*\*|\*|\.)", pattern)
    try:
        return re.compile("".join(_WILDCARDS.get(piece, piece) for piece in pieces))
    except re.error as error:
        raise AdammsError(f"{pattern}: not a pattern ({error})") from error


def _filled(role: str | Fusion, groups: Mapping[str, str | None]) -> Role | Fused:
    if isinstance(role, str):
        return parse_role(_fill(role, groups))
    parts = tuple(parse_role(_fill(part, groups)) for part in role.concat)
    return Fused(parts, role.dim, role.sizes, role.groups)


def _fill(role: str, groups: Mapping[str, str | None]) -> str:
    for key, value in groups.items():
        role = role.replace(f"{{{key}}}", str(value))
    return role
