"""The schema of the configuration, checked as a whole before a mode starts: nothing is opened for it.

What a group's `_target_` takes is in its own annotations; here is what belongs to no `_target_`. Above the
layers, like `compose`. A key that another one reads, as merge.method reads merge.density, is known too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from adamms.app.arguments import check_arguments
from adamms.app.grid import space_of
from adamms.app.merging import alpha_of, rules_of, weights_of
from adamms.errors import AdammsError, check_choice
from adamms.merge.shares import donor_shares

Node = Mapping[str, Any]
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
REPLAY = "adamms.engines.logs.replay.Replay"


@dataclass(frozen=True)
class Settings:
    """The top level: the groups, and what belongs to none of them."""

    mode: Node
    model: Node
    mapper: Node
    merge: Node
    data: Node
    engine: Node
    search: Node
    evaluate: Node
    track: Node
    plan: Node
    output: Path
    cache: Path
    store: Path | None
    model_folder: str | None
    max_shard_gb: PositiveFloat
    verbose: bool
    candidate: float | Mapping[str, float] | None


@dataclass(frozen=True)
class PlanSettings:
    verify: bool


@dataclass(frozen=True)
class MergeSettings:
    """`merging` and `check_device` look at the values."""

    method: Node
    alpha: Any
    device: str
    weights: Any = None
    rules: Any = None


@dataclass(frozen=True)
class SearchSettings:
    """`grids` looks at the grid and at the space."""

    grid: Any
    samples: PositiveInt | None
    seed: NonNegativeInt
    difference: Node
    selector: Node
    logprobs: NonNegativeInt = 0
    sureness: float = 0.0
    space: Any = None


@dataclass(frozen=True)
class EvaluateSettings:
    scorer: Node | None
    donors: bool
    control: bool
    lmms_eval: Node | None = None


@dataclass(frozen=True)
class ModelSettings:
    target: Node
    donors: Mapping[str, Node]
    ancestor: Node | None = None
    prepare: Node | None = None


@dataclass(frozen=True)
class SourceSettings:
    """One model: see conf/model/custom.yaml."""

    path: str | None
    revision: str | None = None
    adapter: str | None = None
    architecture: str | None = None
    tokenizer: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class ModeSettings:
    name: str
    run: str


@dataclass(frozen=True)
class CompareSettings(ModeSettings):
    folder: str


@dataclass(frozen=True)
class PushSettings(ModeSettings):
    folder: str
    repo: str
    private: bool
    dry_run: bool
    message: str


MODES = {"compare": CompareSettings, "push": PushSettings}
SECTIONS: dict[str, type] = {
    "plan": PlanSettings,
    "merge": MergeSettings,
    "search": SearchSettings,
    "evaluate": EvaluateSettings,
    "model": ModelSettings,
    "model.target": SourceSettings,
    "model.ancestor": SourceSettings,
}

# What has to be an object, unless it is null.
OBJECTS = (
    *("mapper", "merge.method", "data", "engine", "search.difference", "search.selector", "track"),
    *("evaluate.scorer", "evaluate.lmms_eval", "model.prepare"),
)


def check_settings(config: DictConfig) -> None:
    """Look at every key and value of the composed configuration.

    Raises:
        AdammsError: a key that nothing reads (with the nearest), one that is missing, a value of another type
            or out of range, a class that does not exist, or settings that exclude each other.
    """
    _check_experiment()
    read = set(_references(config))
    _check_section(Settings, config, "", read)
    check_arguments(ModeSettings, {"name": config.mode.get("name")}, "mode")
    _check_section(MODES.get(str(config.mode.get("name")), ModeSettings), config.mode, "mode", read)
    for where, schema in SECTIONS.items():
        node = OmegaConf.select(config, where)
        if node is not None:
            _check_section(schema, node, where, read)
    if not config.model.donors:
        raise AdammsError("model.donors is empty; name a donor: +model.donors.NAME.path=FOLDER")
    for name, donor in config.model.donors.items():
        _check_section(SourceSettings, donor, f"model.donors.{name}", read)
    for where in OBJECTS:
        node = OmegaConf.select(config, where)
        if node is not None and node.get("_target_") is None:
            group = where.replace(".", "/")
            raise AdammsError(f"{where} has no _target_; choose an option of its group: {group}=...")
    for node in _objects(config):
        where = str(node._get_full_key(None))
        check_arguments(_found(node._target_, f"{where}._target_"), plain_values(node), where, keys_of(node))
    _found(config.mode.run, "mode.run")
    rules_of(config)
    if config.search.get("space") is not None:
        space_of(config)
    donor_shares(alpha_of(config), [str(name) for name in config.model.donors], weights_of(config))
    if config.engine.get("_target_") == REPLAY and config.mode.name in ("merge", "plan"):
        raise AdammsError(
            f"engine=replay reads logs and mode={config.mode.name} writes from weights: they exclude each "
            f"other; engine=replay goes with mode=search"
        )


def plain_values(node: DictConfig) -> dict[str, Any]:
    """Key -> value of what is given in a node, but for objects that a `_target_` describes."""
    found: dict[str, Any] = {}
    for name in node:
        key = str(name)
        if key.startswith("_") or OmegaConf.is_missing(node, name):
            continue
        value = node[name]
        if isinstance(value, DictConfig) and "_target_" in value:
            continue
        found[key] = OmegaConf.to_container(value) if isinstance(value, DictConfig | ListConfig) else value
    return found


def keys_of(node: DictConfig) -> dict[str, str]:
    """Key -> the full key that its value is read from, where it only repeats another one's."""
    found = {}
    for key, text in _written(node):
        reference = _REFERENCE.fullmatch(text)
        if reference:
            found[key] = reference[1]
    return found


def _check_section(schema: type, node: Any, where: str, read: set[str]) -> None:
    """Check one node that is no `_target_`'s."""
    prefix = f"{where}." if where else ""
    if not isinstance(node, DictConfig):
        plain = OmegaConf.to_container(node) if isinstance(node, ListConfig) else node
        raise AdammsError(f"{where} is {'null' if plain is None else repr(plain)}; expected a mapping")
    extra = [key.removeprefix(prefix).split(".")[0] for key in sorted(read) if key.startswith(prefix)]
    for name in node:  # what an object below takes is repeated here, to be set in one place
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and "_target_" in child:
            extra += [str(key) for key in child if not str(key).startswith("_")]
    # Objects count as mappings here; what is in them is looked at on its own.
    values: dict[str, Any] = {}
    for name in node:
        if not OmegaConf.is_missing(node, name):
            value = node[name]
            plain = isinstance(value, DictConfig | ListConfig)
            values[str(name)] = OmegaConf.to_container(value) if plain else value
    check_arguments(schema, values, where, keys_of(node), extra)
    for name in schema.__dataclass_fields__:  # type: ignore[attr-defined]
        needed = name not in vars(schema)  # has no default
        if needed and name not in set(map(str, node)):
            raise AdammsError(f"{prefix}{name} is missing; leave ~{prefix}{name} out")


def _written(node: DictConfig) -> Iterator[tuple[str, str]]:
    """Key and text of every value that is written as a text, as it is written."""
    for name in node:
        inner = node._get_node(name)
        raw = None if inner is None else inner._value()
        if isinstance(raw, str):
            yield str(name), raw


def _references(node: DictConfig) -> Iterator[str]:
    """The full keys that any value below the node reads."""
    for _, text in _written(node):
        yield from _REFERENCE.findall(text)
    for inner in _below(node):
        yield from _references(inner)


def _objects(node: DictConfig) -> Iterator[DictConfig]:
    """Every node with a `_target_`, the innermost too."""
    if node.get("_target_") is not None:
        yield node
    for inner in _below(node):
        yield from _objects(inner)


def _below(node: DictConfig) -> Iterator[DictConfig]:
    """The nodes in it, and those in its lists, that are written there and stand for nothing elsewhere."""
    for name in node:
        inner = node._get_node(name)
        given = inner is not None and not (
            inner._is_none() or inner._is_interpolation() or inner._is_missing()
        )
        if given and isinstance(inner, DictConfig):
            yield inner
        if given and isinstance(inner, ListConfig):
            yield from (item for item in inner if isinstance(item, DictConfig))


def _found(target: Any, where: str) -> Any:
    """What a full name stands for."""
    module, _, name = str(target).rpartition(".")
    try:
        return getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AdammsError(f"{where} is {target!r}, which cannot be imported: {error}") from error


def _check_experiment() -> None:
    """Raise AdammsError for an experiment that does not exist: the group is optional, Hydra lets it pass."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return
    hydra_config = HydraConfig.get()
    typed = [text.lstrip("+").partition("=") for text in hydra_config.overrides.task]
    options = GlobalHydra.instance().config_loader().get_group_options("experiment")
    for key, _, value in typed:
        if key == "experiment" and value not in ("null", ""):
            for name in value.strip("[]").split(","):
                check_choice("experiment", name.strip().strip("'\""), options)
