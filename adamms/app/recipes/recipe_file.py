"""recipe=FILE: a merge as a file, in the place of the groups `model`, `mapper` and `merge`.

The file is the adamms_recipe.json of a merged model, or a mergekit YAML. Owns what a recipe records so that
it can be merged again, and the check that it came to the same.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from adamms.app.config.build import found_by_name, validated
from adamms.app.config.job import own_methods
from adamms.app.config.sections import MergedModels, Node, ReplayKeys
from adamms.checkpoint.side_files import RECORD
from adamms.errors import AdammsError, no_such_path
from adamms.merge.method import ANCESTOR, TARGET, Method
from adamms.merge.schedule import Schedule
from adamms.report import files
from adamms.report.trackers.tracker import Job

REPLAY = "replay"  # in it: what of the configuration decides what is merged
# What may be typed beside a recipe.
OWN = ("model.target.", "model.donors.", "model.ancestor.", "merge.device", "mapper.trust_remote_code")
DECIDED = ("model", "mapper", "merge", "tune", "experiment")
# Keys of a model that may name a folder or file.
PLACES = ("path", "adapter", "tokenizer", "architecture")
TRUST = "trust_remote_code"  # of the mapper; a file from elsewhere does not give itself trust
# Where the classes are that a recipe may name, beside methods and schedules of one's own.
PACKAGES = ("adamms.merge.", "adamms.mapping.")


@dataclass(frozen=True)
class RecipeFile:
    """What a file says; without arguments, that there is none.

    Args:
        file: where it is.
        nodes: groups of the configuration, as far as they are said.
        notes: what of it has no effect.
        record: what a recipe of ours says of the models and of the result; empty of a mergekit YAML.
    """

    file: Path = Path()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    notes: Sequence[str] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    def check_models(self, found: Mapping[str, str]) -> None:
        """Raise AdammsError unless the models are those that were merged.

        Args:
            found: model -> fingerprint, of those that are open now.
        """
        wanted = self.record.get("checkpoints", {})
        for name, digest in found.items():
            if wanted.get(name, digest) != digest:
                where = f"model.{name}" if name in (TARGET, ANCESTOR) else f"model.donors.{name}"
                raise AdammsError(
                    f"{where}: not the model that {self.file} was made from: its fingerprint is {digest}, "
                    f"there it is {wanted[name]}. Give the same one, or its revision: {where}.path=..."
                )

    def check_result(self, fingerprint: str) -> None:
        """Raise AdammsError unless what will be merged is what was merged."""
        wanted = self.record.get("fingerprint", fingerprint)
        if wanted != fingerprint:
            raise AdammsError(
                f"{self.file}: the models are the same, but not what they come to here: fingerprint "
                f"{fingerprint}, there {wanted}. It was merged by adamms {self.record.get('adamms')}: use "
                "that version, and merge.device as it was"
            )


def read_recipe(place: str) -> RecipeFile:
    """The recipe in a file, or in a merged model's folder.

    Raises:
        AdammsError: it cannot be read, or means no run.
    """
    file = Path(place).expanduser()
    file = file / RECORD if file.is_dir() else file
    if not file.is_file():
        raise no_such_path(file)
    try:
        read = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        documents = json.loads(json.dumps(read, default=str))  # a YAML may contain itself
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise AdammsError(f"{file}: neither YAML nor JSON: {' '.join(str(error).split())[:200]}") from error
    if len(documents) != 1:
        raise AdammsError(f"{file}: found {len(documents)} documents; expected one, a file for each merge")
    (content,) = documents
    if not isinstance(content, Mapping):
        raise AdammsError(
            f"{file}: found a {type(content).__name__}; expected one mapping, as a mergekit YAML or "
            f"{RECORD} has"
        )
    if "fingerprint" in content:
        nodes = _replayed(file, content)
        forced = f"{file}: plan.force=true, as there: models are merged that may have nothing in common"
        return RecipeFile(file, nodes, [forced] if nodes.get("plan", {}).get("force") else [], content)
    from adamms.app.recipes.mergekit_yaml import Document  # few runs have use for it

    document = Document(content)
    try:
        nodes = document.nodes()
    except AdammsError as error:
        raise AdammsError(str(error).replace("recipe:", f"{file}:", 1)) from error
    return RecipeFile(file, nodes, [note.replace("recipe:", f"{file}:", 1) for note in document.notes])


def _replayed(file: Path, content: Mapping[str, Any]) -> dict[str, Node]:
    """The groups that a recipe of ours says.

    Raises:
        AdammsError: it says none, or names what is no class to merge or to map with.
    """
    if REPLAY not in content:
        raise AdammsError(
            f"{file}: written by adamms {content.get('adamms')}, which did not record how to merge again; its"
            " run's config.yaml has all settings"
        )
    if not isinstance(content[REPLAY], dict):
        raise AdammsError(
            f"{file}: {REPLAY} is {content[REPLAY]!r}; expected the groups model, mapper and merge"
        )
    try:
        nodes = validated(ReplayKeys, content[REPLAY], REPLAY).model_dump(exclude_unset=True)
        validated(MergedModels, nodes["model"], f"{REPLAY}.model")
        _check_classes(nodes, REPLAY)
    except AdammsError as error:
        raise AdammsError(f"{file}: {error}") from error
    return nodes


def _check_classes(node: Any, where: str) -> None:
    """Raise AdammsError for a `_target_` that is none of ours: it would be called, whatever it is.

    The file may come from anywhere, and to import a module runs it: so names are compared, before anything is
    imported, with our packages and with what the user's own YAMLs name.
    """
    for key, inner in node.items() if isinstance(node, Mapping) else enumerate(node):
        if key == "_target_":
            if not _is_ours(inner, where):
                raise AdammsError(
                    f"{where} names {inner!r}, which is none of adamms' methods, schedules and mappers; a "
                    "recipe can name no other, but what a YAML of your own in merge or merge/schedule "
                    "names: -cd FOLDER"
                )
        elif isinstance(inner, Mapping | list):
            _check_classes(inner, f"{where}.{key}")


def _is_ours(name: object, where: str) -> bool:
    own = isinstance(name, str) and name in own_methods()
    if not (own or (isinstance(name, str) and name.startswith(PACKAGES))):
        return False
    found = found_by_name(name, where)
    return isinstance(found, type) and (
        found.__module__.startswith(PACKAGES) or (own and issubclass(found, Method | Schedule))
    )


def _sources(model: Node) -> Iterator[tuple[str, Node]]:
    """(key, node) of each model."""
    for name, node in model.items():
        if name == "donors":
            yield from ((f"donors.{donor}", each) for donor, each in node.items())
        else:
            yield name, node


def _find_folders(file: Path, model: Node) -> None:
    """Put the paths of local folders, which a recipe has by name only, where none was typed.

    Raises:
        AdammsError: one that is not where the run that wrote the recipe had it.
    """
    for where, source in _sources(model):
        for key in PLACES:
            name = source.pop(f"{key}_folder", None)
            if name is not None and key not in source:
                source[key] = _beside(file, f"{where}.{key}")
                if source[key] is None:
                    raise AdammsError(
                        f"{file}: model.{where}.{key} was the local {name}; say where it is now: "
                        f"model.{where}.{key}=PLACE"
                    )


def _beside(file: Path, where: str) -> str | None:
    """A path in the configuration of the run that wrote the recipe, which lies beside the model."""
    if (file.parent.name, file.name) != (files.MODEL, RECORD):
        return None
    try:
        found: Any = yaml.safe_load((file.parent.parent / files.SETTINGS).read_text(encoding="utf-8"))
        for step in ("model", *where.split(".")):
            found = found[step]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return None
    return str(found) if Path(str(found)).expanduser().exists() else None


def recorded(config: Mapping[str, Any], merge: Node) -> dict[str, Node]:
    """What of a configuration decides what is merged, without places on this machine.

    Args:
        config: of the run.
        merge: the group `merge`, with the numbers that were chosen.
    """
    model = config["model"]
    named = {TARGET: model[TARGET], "donors": model["donors"], ANCESTOR: model.get(ANCESTOR)}
    places = {
        TARGET: _placed(named[TARGET]),
        "donors": {name: _placed(donor) for name, donor in named["donors"].items()},
        **({ANCESTOR: _placed(named[ANCESTOR])} if (named[ANCESTOR] or {}).get("path") else {}),
    }
    return {
        "model": places,
        "mapper": {key: value for key, value in config["mapper"].items() if key != TRUST},
        "merge": {key: merge[key] for key in sorted(merge) if key != "device"},
        "plan": {"force": config["plan"]["force"]},
    }


def _placed(source: Node) -> Node:
    """One model's keys: of local folders and files their names alone."""
    found = {
        key: value
        for key, value in source.items()
        if key in (*PLACES, "revision") and value not in (None, "???")
    }
    for key in PLACES:
        spec = key != "architecture" or str(found.get(key)).endswith((".yaml", ".yml"))
        if key in found and spec and (place := Path(str(found[key])).expanduser()).exists():
            found[f"{key}_folder"] = place.resolve().name
            del found[key]
    return found


def with_recipe(values: Node, job: Job, mode: Node) -> tuple[Node, RecipeFile]:
    """The configuration with a recipe's groups in it, where one is given, and over them what was typed.

    Raises:
        AdammsError: a recipe that means no run, or a mode or settings that it excludes.
    """
    place = values.get("recipe")
    if place is None:
        return values, RecipeFile()
    if not place:
        raise AdammsError("recipe is empty; expected a file, or recipe=null for none")
    if mode.get("takes_recipe") is not True:
        raise AdammsError(
            f"recipe={place} says how models are merged, which is mode=merge, plan or extract; this is "
            f"{mode['name']}"
        )
    typed = [item.lstrip("+~").partition("=")[::2] for item in job.overrides]
    keys = [key.replace("/", ".") for key, _ in typed]
    for key, (_, value) in zip(keys, typed, strict=True):
        free = (key, value) in (("model", "custom"), ("experiment", "null")) or key.startswith(OWN)
        if key.split(".")[0] in DECIDED and not free:
            raise AdammsError(
                f"{key} stands beside recipe={place}, which says what is merged and how; leave one out"
            )
    found = read_recipe(str(place))
    made = {**values, "model": found.nodes["model"]}
    for key in keys:
        if key.startswith("model."):
            _put(made["model"], key.split(".")[1:], values["model"])
    _find_folders(found.file, made["model"])
    made["mapper"] = _mapper(values["mapper"], found.nodes["mapper"])
    common: Node = {"weights": None, "rules": None, "schedule": None}
    made["merge"] = {**common, **found.nodes["merge"], "device": values["merge"]["device"]}
    made["plan"] = {
        **values["plan"],
        "force": values["plan"]["force"] or found.nodes.get("plan", {}).get("force", False),
    }
    return made, found


def _mapper(values: Node, said: Node) -> Node:
    """The mapper of a recipe; what it does not say, and whose code is run, is as configured."""
    same = said.get("_target_", values["_target_"]) == values["_target_"]
    trust = {TRUST: values.get(TRUST, False)} if TRUST in said or (same and TRUST in values) else {}
    return {**(values if same else {}), **said, **trust}


def _put(node: Node, steps: Sequence[str], given: Node) -> None:
    """Put what was typed at a key into the same place of another tree."""
    *path, last = steps
    for step in path:
        node, given = node.setdefault(step, {}), given[step]
    node[last] = given[last]
