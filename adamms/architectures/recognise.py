"""The architecture of a checkpoint: a spec that names its class, else what transformers' class implies."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adamms.architectures.derive import DerivedArchitecture, derive
from adamms.architectures.meta_model import UnknownClassError, known_classes, known_model_types
from adamms.architectures.spec import (
    Architecture,
    declared_spec,
    known_architectures,
    load_architecture,
    spec_classes,
)
from adamms.errors import AdammsError, nearest

AnyArchitecture = Architecture | DerivedArchitecture


def recognise(config: Mapping[str, Any], where: Path, trust_remote_code: bool = False) -> AnyArchitecture:
    """The architecture that a checkpoint's config.json, found in `where`, declares.

    transformers is loaded where no spec decides. Of several classes the first that is known counts.

    Raises:
        AdammsError: neither a spec nor transformers knows it, or `derive` can make nothing of its class.
    """
    classes = list(config.get("architectures") or [])
    if len(classes) > 1:
        any_of = {*spec_classes(), *known_classes()}
        config = {**config, "architectures": [name for name in classes if name in any_of][:1] or classes}
    found = declared_spec(config)
    if found is not None:
        return found
    declared = next(iter(config.get("architectures") or []), config.get("model_type"))
    if "_class_name" in config:
        raise AdammsError(f"{where}: {config['_class_name']} of diffusers, which is no language model")
    if not declared:
        raise AdammsError(
            f"{where}: unknown architecture: there is no config.json that names one. {_choices('')}"
        )
    try:
        return derive(config, where, trust_remote_code)
    except UnknownClassError as error:
        kind = config.get("model_type")
        known = f" Its model_type is known: architecture={kind}, if the tensors are named as of that."
        raise AdammsError(
            f"{where}: unknown architecture: {error}.{known if kind in known_model_types() else ''} "
            f"{_choices(str(declared), known_classes())}"
        ) from error


def named(
    name: str, config: Mapping[str, Any], where: Path, trust_remote_code: bool = False
) -> AnyArchitecture:
    """The architecture `name`: a spec that comes with adamms, its path, or a model_type of transformers.

    Raises:
        AdammsError: there is none of that name, or as `recognise`.
    """
    if name in known_architectures() or name.endswith((".yaml", ".yml")):
        return load_architecture(name)
    types = known_model_types()
    if name not in types:
        raise AdammsError(f"unknown architecture {name!r}. {_choices(name, types)}")
    return derive(
        {**config, "model_type": name, "architectures": None, "auto_map": None}, where, trust_remote_code
    )


def _choices(name: str = "", others: Iterable[str] = ()) -> str:
    known = known_architectures()
    return (
        f"mapper=discover does without one, by the weights. Or name one with model.target.architecture=NAME "
        f"(model.donors.<name>.architecture=NAME): the path of a spec's YAML file (see docs/models.md), a "
        f"model_type that transformers knows, or one of {', '.join(known)}."
    ) + nearest(name, [*known, *spec_classes(), *others])
