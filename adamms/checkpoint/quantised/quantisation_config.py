"""What a config.json says of quantised weights, as far as it is read here; all else in it is passed over.

`quantisation` knows what is stored.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PositiveInt, TypeAdapter, ValidationError

from adamms.errors import AdammsError

KEYS = ("quantization_config", "compression_config")
PATTERN = "re:"

Block = tuple[PositiveInt, PositiveInt]


def _sizes(value: Any) -> Any:
    """The two numbers of "128x128"."""
    return value.split("x") if isinstance(value, str) else value


def _compiling(target: str) -> str:
    if target.startswith(PATTERN):
        try:
            re.compile(target.removeprefix(PATTERN))
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
    return target


def _mappings(value: Any) -> Any:
    """Without the groups that are lists: of modules, whose scheme is only named."""
    return {k: v for k, v in value.items() if not isinstance(v, list)} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Scheme:
    """How the weights of some modules are stored.

    Args:
        type: of the codes, "int" or "float".
        num_bits: of a code.
        group_size: columns that share a scale.
        block_structure: rows and columns that do.
    """

    type: str = ""
    num_bits: int | None = None
    group_size: int | None = None
    block_structure: Annotated[Block | None, BeforeValidator(_sizes)] = None

    @property
    def block(self) -> Block | None:
        """Rows and columns that share a scale, as far as they are said."""
        group = self.group_size or 0  # -1: all columns
        return self.block_structure or ((1, group) if group > 0 else None)


@dataclass(frozen=True)
class Group:
    """A group of config_groups: modules, patterns or classes, and how their weights are stored."""

    targets: Sequence[Annotated[str, AfterValidator(_compiling)]] | None = None
    weights: Scheme | None = None

    def names(self, module: str) -> bool:
        """Whether one of the targets is the module's name, or a pattern that matches it."""
        return any(
            bool(re.match(each.removeprefix(PATTERN), module)) if each.startswith(PATTERN) else each == module
            for each in self.targets or ()
        )


@dataclass(frozen=True)
class Quantisation:
    """A quantization_config."""

    quant_method: str
    weight_block_size: Block | None = None
    config_groups: Annotated[Mapping[str, Group] | None, BeforeValidator(_mappings)] = None

    def scheme(self, name: str, dtype: str) -> Scheme:
        """What config_groups say of the tensor `name`, whose codes have this dtype.

        The files have no classes, so a class may mean any module.
        """
        groups = (self.config_groups or {}).values()
        module, kind = name.rpartition(".")[0], "int" if dtype.startswith("I") else "float"
        schemes: list[Scheme] = []
        for group in [each for each in groups if each.names(module)] or groups:
            if group.weights is not None and group.weights.type == kind and group.weights not in schemes:
                schemes.append(group.weights)
        if len(schemes) > 1:
            raise AdammsError(f"config_groups have {len(schemes)} schemes for {module}; expected one")
        return schemes[0] if schemes else Scheme()


def said_of_quantisation(config: Mapping[str, Any]) -> Iterator[Any]:
    """What a config.json and the configurations in it say, as it stands."""
    yield from (config[key] for key in KEYS if config.get(key))
    for key, part in config.items():
        if isinstance(part, Mapping) and key not in KEYS:
            yield from said_of_quantisation(part)


def without_quantisation(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json without all that."""
    return {
        key: without_quantisation(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in KEYS
    }


def read_quantisation(said: Mapping[str, Any]) -> Quantisation:
    """A quantization_config.

    Raises:
        AdammsError: a value of another type, or that cannot be.
    """
    try:
        return TypeAdapter(Quantisation).validate_python(dict(said))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AdammsError(
            f"config.json: quantization_config.{place} is {repr(first['input'])[:80]}: {first['msg']}"
        ) from error
