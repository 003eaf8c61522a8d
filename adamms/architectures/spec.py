"""The language of architecture specs: tensor-name patterns -> canonical roles, as YAML data.

One YAML file beside this module describes one checkpoint format and nothing else: no other
format, no weights, no shapes. To add a model family, write one and name it in conf/checkpoint. Keys:

    about           one line for people
    classes         names in config.json's `architectures` that mean this format; none for what others
                    include, and for names of language models whose class transformers knows
    model_types     config.json's `model_type`, used when no class decides
    inference       what to do instead, for a format that no engine can run: a text; for one that some can,
                    {engine: text} of those that cannot
    include         {other spec: {leading text: pattern in its place}}: its lines under other prefixes,
                    after the own ones ("" leads every name); what it includes comes along under both
    language_model  pattern -> role (roles.py lists them), a fusion of several roles, or a stack (below)
    other           reason -> pattern of tensors that are not of the LM and are always kept

Patterns are tensor names with `{i}` (layer), `{e}` (expert), `{p}` (weight or bias), `(a|b)`, `(a)?`, `*`
(one dotted segment) and `**` (the rest). The first line that matches decides; a tensor that none matches,
nor a rule of `leftovers`, is an error, so a spec takes every spelling that its files come in (hub files,
transformers 5's own).

A fusion says what lies along dimension `dim` of one tensor:

    concat: [layers.{i}.attn.q.{p}, layers.{i}.attn.k.{p}, layers.{i}.attn.v.{p}]
    dim: 0
    sizes: [num_attention_heads, num_key_value_heads, num_key_value_heads]
    groups: num_key_value_heads

`sizes` is how the parts' sizes relate (without it they are equal), `groups` (1 without it) in how many
groups the rows lie, each with its share of every part in turn. Both are numbers or keys of
config.json, nested (`text_config`, ...) or not.

`{role: embed.weight, rows: N}` says that only the N leading rows of embeddings or head are the LM's. The
others are the model's own: they are never merged, and no other model gets them.

A stack says that all experts of a layer lie in one tensor, along its first dimension; what each of them is, a
role or a fusion, is said without the expert's number and as a linear layer stores it, (out, in):

    stack:
      concat: [layers.{i}.moe.expert.gate.weight, layers.{i}.moe.expert.up.weight]
      dim: 0
    transposed: true

Whether the file holds each expert's matrix so or transposed, shapes decide by config.json's hidden_size.
`transposed` counts only where they leave it open.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from adamms.architectures.label import Label
from adamms.architectures.lines import Fusion, Leading, Line, Stack, Template, check_roles, compile_pattern
from adamms.errors import AdammsError, check_choice, nearest

SPEC_FOLDER = Path(__file__).parent
ENGINES = ("transformers", "vllm")

# The same language as yaml.SafeLoader, ten times as fast where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Classes of transformers that have no head of a language model; InternVLChatModel is one of a whole model.
_WITHOUT_HEAD = re.compile(r".+((?<!Chat)Model|For(Sequence|Token)Classification|ForQuestionAnswering)")
# What pydantic puts into the path of a problem, and no YAML has: names of what may stand there.
_ALTERNATIVES = ("str", "Fusion", "Stack", "Leading", "bool", "constrained-int", "[key]")


class _Spec(BaseModel):
    """The YAML of a spec: see the module's header for what the keys mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    classes: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    inference: dict[Literal["transformers", "vllm"], str] = {}
    include: dict[str, dict[str, str]] = {}
    language_model: dict[str, Template] = {}
    other: dict[str, str] = {}

    @field_validator("inference", mode="before")
    @classmethod
    def _of_every_engine(cls, advised: object) -> object:
        return dict.fromkeys(ENGINES, advised) if isinstance(advised, str) else advised


class Architecture(_Spec):
    """How one checkpoint format names its tensors: what its YAML says, and all patterns.

    >>> label = load_architecture("llama").label("model.layers.3.mlp.up_proj.weight")
    >>> str(label.role)
    'layers.3.mlp.up.weight'

    Args:
        name: the spec's file name without `.yaml`.
        lines: the patterns; the first that matches decides.
    """

    name: str
    lines: tuple[Line, ...]

    def label(self, name: str) -> Label | None:
        """What the tensor `name` is; None if no line of the spec describes it."""
        return next((label for line in self.lines if (label := line.label(name))), None)

    def missing(self, names: Iterable[str]) -> list[str] | None:
        """None: a spec does not say which tensors there must be. A derived architecture does."""
        return None


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
    try:
        spec = _read_spec(path)
        return Architecture(name=path.stem, lines=tuple(_lines(spec)), **dict(spec))
    except AdammsError as error:
        raise AdammsError(f"{path}: {error}") from error


def declared_spec(config: Mapping[str, Any]) -> Architecture | None:
    """The spec that comes with adamms for what a config.json declares; None if there is none."""
    known = {name: _read_spec(SPEC_FOLDER / f"{name}.yaml") for name in known_architectures()}
    declared = [str(name) for name in config.get("architectures") or []]
    model_type = config.get("model_type")
    for name, spec in known.items():
        if set(spec.classes) & set(declared):
            return load_architecture(name)
    for name, spec in known.items():
        if model_type in spec.model_types and (not declared or saved_without_head(config)):
            return load_architecture(name)
    return None


def spec_classes() -> list[str]:
    """The classes that the specs declare."""
    specs = (_read_spec(SPEC_FOLDER / f"{name}.yaml") for name in known_architectures())
    return [name for spec in specs for name in spec.classes]


def saved_without_head(config: Mapping[str, Any]) -> bool:
    """Whether config.json declares the backbone alone, or one with the head of another task: Qwen2Model."""
    declared = config.get("architectures") or []
    return bool(declared) and all(_WITHOUT_HEAD.fullmatch(str(name)) for name in declared)


def _read_spec(path: Path) -> _Spec:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise AdammsError(f"not valid YAML ({error})") from error
    if not isinstance(content, dict):
        raise AdammsError(f"a spec is a mapping with the keys {', '.join(_Spec.model_fields)}")
    try:
        return _Spec.model_validate({key: value for key, value in content.items() if value is not None})
    except ValidationError as error:
        raise AdammsError(_problem(error)) from error


def _problem(error: ValidationError) -> str:
    """The first problem in one line; where a text or something else may stand, that of the other."""
    found = next((item for item in error.errors() if item["type"] != "string_type"), error.errors()[0])
    path = [str(part) for part in found["loc"] if part not in _ALTERNATIVES]
    where = ": ".join(path)
    if found["type"] == "missing":
        return f"{where} is missing"
    if found["type"] != "extra_forbidden":
        return f"{where} is {found['input']!r}: {found['msg']}"
    of = next((kind for kind in (Fusion, Stack, Leading) if kind.__name__ in found["loc"]), _Spec)
    keys = list(of.model_fields)
    return f"unknown key {where!r}; expected {', '.join(keys)}.{nearest(path[-1], keys)}"


def _lines(spec: _Spec, prefixes: tuple[Mapping[str, str], ...] = ()) -> Iterator[Line]:
    """The spec's own lines first, so that they win over those that it includes.

    `prefixes` are the replacements of leading text that its includers ask for, the innermost first.
    """
    for pattern, role in spec.language_model.items():
        check_roles(pattern, role)
        yield Line(compile_pattern(pattern, prefixes), role)
    for reason, pattern in spec.other.items():
        yield Line(compile_pattern(pattern, prefixes), reason=reason)
    for name, inner in spec.include.items():
        check_choice("include", name, known_architectures())
        yield from _lines(_read_spec(SPEC_FOLDER / f"{name}.yaml"), (inner, *prefixes))
