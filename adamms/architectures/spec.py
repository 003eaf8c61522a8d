"""The language of architecture specs: tensor-name patterns -> canonical roles, as YAML data.

One YAML file beside this module describes one checkpoint format and nothing else: no other
format, no weights, no shapes. Keys of a spec:

    about           one line for people
    classes         names in config.json's `architectures` that mean this format
    model_types     config.json's `model_type`, used when no class decides
    inference       what to do instead, for a format that neither transformers nor vLLM can run
    include         {other spec: {leading text: pattern in its place}}: its lines under other prefixes
    language_model  pattern -> role, or {concat: [roles], dim: d} for parts of equal size fused in one
    other           reason -> pattern of tensors that are not of the LM and are always kept

Patterns are tensor names with `{i}` (layer), `{p}` (weight or bias), `(a|b)`, `(a)?`, `*` (one
dotted segment) and `**` (the rest).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adamms.architectures.roles import Role, parse_role
from adamms.errors import AdammsError, check_choice, nearest

SPEC_FOLDER = Path(__file__).parent
KEYS = ("about", "classes", "model_types", "inference", "include", "language_model", "other")

_WILDCARDS = {"{i}": r"(?P<i>\d+)", "{p}": r"(?P<p>weight|bias)", "**": r".+", "*": r"[^.]+", ".": r"\."}


@dataclass(frozen=True)
class Fused:
    """Several roles in one tensor: parts of equal size, concatenated along `dim`."""

    parts: tuple[Role, ...]
    dim: int


@dataclass(frozen=True)
class Label:
    """What a spec says of one tensor: its role in the LM, or the reason why it has none."""

    role: Role | Fused | None
    reason: str = ""


@dataclass(frozen=True)
class Line:
    """One pattern of a spec with what it stands for: a role template, fused ones, or a reason."""

    pattern: re.Pattern[str]
    roles: tuple[str, ...] = ()
    dim: int | None = None
    reason: str = ""

    def label(self, name: str) -> Label | None:
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        if not self.roles:
            return Label(None, self.reason)
        roles = tuple(parse_role(_fill(role, match.groupdict())) for role in self.roles)
        return Label(roles[0] if self.dim is None else Fused(roles, self.dim))


@dataclass(frozen=True)
class Architecture:
    """How one checkpoint format names its tensors.

    Args:
        name: the spec's file name without `.yaml`.
        about: one line for people.
        classes: values of config.json's `architectures` that mean this format.
        model_types: values of config.json's `model_type` that do when no class decides.
        lines: the patterns; the first that matches decides.
        inference: what to do instead, if no engine can run the format; else "".
    """

    name: str
    about: str
    classes: tuple[str, ...]
    model_types: tuple[str, ...]
    lines: tuple[Line, ...]
    inference: str = ""

    def label(self, name: str) -> Label | None:
        """What the tensor `name` is; None if no line of the spec describes it."""
        return next((label for line in self.lines if (label := line.label(name))), None)


def known_architectures() -> list[str]:
    """Names of the specs that come with adamms."""
    return sorted(path.stem for path in SPEC_FOLDER.glob("*.yaml"))


def load_architecture(name: str) -> Architecture:
    """The spec `name`, or the one in the YAML file at the path `name`.

    Raises:
        AdammsError: no such spec, or one that does not follow the language above.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SPEC_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = known_architectures()
        raise AdammsError(
            f"unknown architecture {name!r}; known: {', '.join(known)}, or the path of a spec's YAML "
            f"file.{nearest(name, known)}"
        )
    spec = _read_spec(path)
    try:
        lines = tuple(_lines(spec))
    except AdammsError as error:
        raise AdammsError(f"{path}: {error}") from error
    return Architecture(
        path.stem,
        spec.get("about", ""),
        tuple(spec.get("classes", ())),
        tuple(spec.get("model_types", ())),
        lines,
        spec.get("inference", ""),
    )


def recognise(config: Mapping[str, Any], where: Path) -> Architecture:
    """The architecture that a checkpoint's config.json (found in `where`) declares.

    Raises:
        AdammsError: none of the known ones; the message says what the config declares.
    """
    known = [load_architecture(name) for name in known_architectures()]
    declared = [str(name) for name in config.get("architectures") or []]
    model_type = config.get("model_type")
    for architecture in known:
        if set(architecture.classes) & set(declared):
            return architecture
    if not declared:
        for architecture in known:
            if model_type in architecture.model_types:
                return architecture
    says = (
        f"config.json declares {', '.join(declared) or model_type}" if config else "there is no config.json"
    )
    classes = [name for architecture in known for name in architecture.classes]
    raise AdammsError(
        f"{where}: unknown architecture: {says}. Known: {', '.join(known_architectures())}. Name one with "
        f"model.target.architecture=NAME (model.donors.<name>.architecture=NAME), or give the path of a "
        f"spec's YAML file." + nearest((declared or [str(model_type)])[0], classes)
    )


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise AdammsError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(spec, dict):
        raise AdammsError(f"{path}: a spec is a mapping with the keys {', '.join(KEYS)}")
    for key in spec:
        if key not in KEYS:
            raise AdammsError(f"{path}: unknown key {key!r}; expected {', '.join(KEYS)}.{nearest(key, KEYS)}")
    if not isinstance(spec.get("inference", ""), str):
        raise AdammsError(f"{path}: inference is {spec['inference']!r}; expected a text")
    return spec


def _lines(spec: dict[str, Any], prefixes: Mapping[str, str] | None = None) -> Iterator[Line]:
    """The spec's own lines first, so that they win over those that it includes."""
    prefixes = prefixes or {}
    for pattern, role in (spec.get("language_model") or {}).items():
        match role:
            case str():
                line = Line(_compile(pattern, prefixes), (role,))
            case {"concat": list(parts), "dim": int(dim)}:
                line = Line(_compile(pattern, prefixes), tuple(parts), dim)
            case _:
                raise AdammsError(
                    f"{pattern}: expected a role or {{concat: [roles], dim: d}}, found {role!r}"
                )
        for part in line.roles:
            parse_role(_fill(str(part), {"i": "0", "p": "weight"}))
        yield line
    for reason, pattern in (spec.get("other") or {}).items():
        yield Line(_compile(pattern, prefixes), reason=reason)
    for name, inner in (spec.get("include") or {}).items():
        check_choice("include", name, known_architectures())
        yield from _lines(_read_spec(SPEC_FOLDER / f"{name}.yaml"), inner)


def _compile(pattern: str, prefixes: Mapping[str, str]) -> re.Pattern[str]:
    for leading, replacement in prefixes.items():
        if pattern.startswith(leading):
            pattern = replacement + pattern.removeprefix(leading)
            break
    pieces = re.split(r"(\{i\}|\{p\}|\*\*|\*|\.)", pattern)
    try:
        return re.compile("".join(_WILDCARDS.get(piece, piece) for piece in pieces))
    except re.error as error:
        raise AdammsError(f"{pattern}: not a pattern ({error})") from error


def _fill(role: str, groups: Mapping[str, str | None]) -> str:
    for key, value in groups.items():
        role = role.replace(f"{{{key}}}", str(value))
    return role
