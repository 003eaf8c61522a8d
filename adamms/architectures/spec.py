"""The language of architecture specs: tensor-name patterns -> canonical roles, as YAML data.

One YAML file beside this module describes one checkpoint format and nothing else: no other
format, no weights, no shapes. To add a model family, write one and name it in conf/checkpoint. Keys:

    about           one line for people
    classes         names in config.json's `architectures` that mean this format
    model_types     config.json's `model_type`, used when no class decides
    inference       what to do instead, for a format that no engine can run: a text; for one that some can,
                    {engine: text} of those that cannot
    include         {other spec: {leading text: pattern in its place}}: its lines under other prefixes,
                    after the own ones ("" leads every name); what it includes comes along under both
    language_model  pattern -> role (roles.py lists them), or a fusion of several roles (below)
    other           reason -> pattern of tensors that are not of the LM and are always kept
    inserted_layers {reason: key of config.json}: the key lists layers, by index, that the ancestor LM
                    does not have; they are kept, and the others are counted without them

Patterns are tensor names with `{i}` (layer), `{p}` (weight or bias), `(a|b)`, `(a)?`, `*` (one
dotted segment) and `**` (the rest). The first line that matches decides; a tensor that none matches is
an error, so a spec takes every spelling that its files come in (hub files, transformers 5's own).

A fusion says what lies along dimension `dim` of one tensor:

    concat: [layers.{i}.attn.q.{p}, layers.{i}.attn.k.{p}, layers.{i}.attn.v.{p}]
    dim: 0
    sizes: [num_attention_heads, num_key_value_heads, num_key_value_heads]
    groups: num_key_value_heads

`sizes` is how the parts' sizes relate (without it they are equal), `groups` (1 without it) in how many
groups the rows lie, each with its share of every part in turn. Both are numbers or keys of
config.json, nested (`text_config`, ...) or not.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from adamms.architectures.roles import Role, parse_role
from adamms.errors import AdammsError, check_choice, nearest

SPEC_FOLDER = Path(__file__).parent
KEYS = (
    *("about", "classes", "model_types", "inference"),
    *("include", "language_model", "other", "inserted_layers"),
)
ENGINES = ("transformers", "vllm")
FUSION_KEYS = ("concat", "dim", "sizes", "groups")

_WILDCARDS = {"{i}": r"(?P<i>\d+)", "{p}": r"(?P<p>weight|bias)", "**": r".+", "*": r"[^.]+", ".": r"\."}


@dataclass(frozen=True)
class Fused:
    """Several roles in one tensor, concatenated along `dim`.

    Args:
        parts: the roles, in order.
        dim: the dimension along which they lie.
        sizes: each part's relative size, a number or a key of config.json; () for equal ones.
        groups: the number of groups, or a key of config.json; each has its share of every part.
    """

    parts: tuple[Role, ...]
    dim: int
    sizes: tuple[int | str, ...] = ()
    groups: int | str = 1


@dataclass(frozen=True)
class Label:
    """What a spec says of one tensor: its role in the LM, or the reason why it has none."""

    role: Role | Fused | None
    reason: str = ""

    @property
    def parts(self) -> tuple[Role, ...]:
        """The roles in the tensor: several if it is fused, none if it is not of the LM."""
        if isinstance(self.role, Fused):
            return self.role.parts
        return () if self.role is None else (self.role,)


@dataclass(frozen=True)
class Line:
    """One pattern of a spec with what it stands for: a role template, fused ones, or a reason."""

    pattern: re.Pattern[str]
    roles: tuple[str, ...] = ()
    dim: int | None = None
    sizes: tuple[int | str, ...] = ()
    groups: int | str = 1
    reason: str = ""

    def label(self, name: str) -> Label | None:
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        if not self.roles:
            return Label(None, reason=self.reason)
        roles = tuple(parse_role(_fill(role, match.groupdict())) for role in self.roles)
        return Label(roles[0] if self.dim is None else Fused(roles, self.dim, self.sizes, self.groups))


@dataclass(frozen=True)
class Architecture:
    """How one checkpoint format names its tensors.

    Args:
        name: the spec's file name without `.yaml`.
        about: one line for people.
        classes: values of config.json's `architectures` that mean this format.
        model_types: values of config.json's `model_type` that do when no class decides.
        lines: the patterns; the first that matches decides.
        inserted_layers: reason -> key of config.json that lists layers which the ancestor LM lacks.
        inference: engine (transformers, vllm) -> what to do instead, for those that cannot run the format.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    model_types: tuple[str, ...]
    lines: tuple[Line, ...]
    inserted_layers: Mapping[str, str] = field(default_factory=dict)
    inference: Mapping[str, str] = field(default_factory=dict)

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
        spec.get("inserted_layers", {}),
        _inference(spec.get("inference", {})),
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
    inserted = spec.get("inserted_layers", {})
    if not isinstance(inserted, dict) or not all(isinstance(key, str) for key in inserted.values()):
        raise AdammsError(f"{path}: inserted_layers is {inserted!r}; expected {{reason: key of config.json}}")
    advised = spec.get("inference", {})
    texts = advised if isinstance(advised, dict) else dict.fromkeys(ENGINES, advised)
    if not set(texts) <= set(ENGINES) or not all(isinstance(text, str) for text in texts.values()):
        raise AdammsError(
            f"{path}: inference is {advised!r}; expected a text, or one for some of {', '.join(ENGINES)}"
        )
    return spec


def _inference(advised: str | Mapping[str, str]) -> Mapping[str, str]:
    return dict.fromkeys(ENGINES, advised) if isinstance(advised, str) else advised


def _lines(spec: dict[str, Any], prefixes: tuple[Mapping[str, str], ...] = ()) -> Iterator[Line]:
    """The spec's own lines first, so that they win over those that it includes.

    `prefixes` are the replacements of leading text that its includers ask for, the innermost first.
    """
    for pattern, meaning in (spec.get("language_model") or {}).items():
        match meaning:
            case str():
                line = Line(_compile(pattern, prefixes), (meaning,))
            case {"concat": _, "dim": _}:
                line = _fusion(pattern, meaning, prefixes)
            case _:
                raise AdammsError(
                    f"{pattern}: expected a role or {{concat: [roles], dim: d}}, found {meaning!r}"
                )
        for part in line.roles:
            parse_role(_fill(part, {"i": "0", "p": "weight"}))
        yield line
    for reason, pattern in (spec.get("other") or {}).items():
        yield Line(_compile(pattern, prefixes), reason=reason)
    for name, inner in (spec.get("include") or {}).items():
        check_choice("include", name, known_architectures())
        yield from _lines(_read_spec(SPEC_FOLDER / f"{name}.yaml"), (inner, *prefixes))


def _fusion(pattern: str, meaning: Mapping[str, Any], prefixes: tuple[Mapping[str, str], ...]) -> Line:
    for key in meaning:
        if key not in FUSION_KEYS:
            expected = ", ".join(FUSION_KEYS)
            raise AdammsError(
                f"{pattern}: unknown key {key!r}; expected {expected}.{nearest(str(key), FUSION_KEYS)}"
            )
    parts, dim = meaning["concat"], meaning["dim"]
    sizes, groups = meaning.get("sizes", []), meaning.get("groups", 1)
    if not isinstance(parts, list) or len(parts) < 2 or not all(isinstance(part, str) for part in parts):
        raise AdammsError(f"{pattern}: concat is {parts!r}; expected a list of two or more roles")
    if not isinstance(dim, int) or dim < 0:
        raise AdammsError(f"{pattern}: dim is {dim!r}; expected 0 or more")
    if not isinstance(sizes, list) or (sizes and len(sizes) != len(parts)):
        raise AdammsError(f"{pattern}: sizes is {sizes!r}; expected one for each of {len(parts)} parts")
    for count in (*sizes, groups):
        if not isinstance(count, str) and not (isinstance(count, int) and count > 0):
            raise AdammsError(
                f"{pattern}: {count!r} in sizes or groups; expected a number of 1 or more, or a key of "
                f"config.json"
            )
    return Line(_compile(pattern, prefixes), tuple(parts), dim, tuple(sizes), groups)


def _compile(pattern: str, prefixes: tuple[Mapping[str, str], ...]) -> re.Pattern[str]:
    for replacements in prefixes:
        leading = next((text for text in replacements if pattern.startswith(text)), None)
        if leading is not None:
            pattern = replacements[leading] + pattern.removeprefix(leading)
    pieces = re.split(r"(\{i\}|\{p\}|\*\*|\*|\.)", pattern)
    try:
        return re.compile("".join(_WILDCARDS.get(piece, piece) for piece in pieces))
    except re.error as error:
        raise AdammsError(f"{pattern}: not a pattern ({error})") from error


def _fill(role: str, groups: Mapping[str, str | None]) -> str:
    for key, value in groups.items():
        role = role.replace(f"{{{key}}}", str(value))
    return role
