"""What the configuration names, opened: a folder or hub id, an adapter with its base, as the mapper sees it.

Above the layers like `compose`. Reads headers only, unless the mapper looks into the weights.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from adamms.checkpoint.adapted import AdaptedCheckpoint
from adamms.checkpoint.adapter import declared_base, is_adapter, open_adapter
from adamms.checkpoint.hub import locate
from adamms.checkpoint.reader import ADAPTER_CONFIG, Checkpoint, open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping.content.sketch import SketchedModel
from adamms.mapping.specs.model import Model
from adamms.report.console import Advance, Console

# A checkpoint as the mapper sees it: through a spec, or by content.
Described = Model | SketchedModel


def open_source(source: DictConfig, where: str) -> Checkpoint:
    if OmegaConf.is_missing(source, "path") or source.get("path") is None:
        raise AdammsError(f"{where}.path has no value; give a folder or a hub id: {where}.path=...")
    try:
        return _open_checkpoint(source)
    except (AdammsError, MissingMandatoryValue) as error:
        raise AdammsError(f"{where}: {error}") from error


def describe(
    mapper: Any, checkpoint: Checkpoint, architecture: str | None, where: str, console: Console, name: str
) -> Described:
    def stage(title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        return console.stage(f"{title} {name}", total, unit)

    try:
        described: Described = mapper.describe(checkpoint, architecture, stage)
    except AdammsError as error:
        raise AdammsError(f"{where}: {error}") from error
    return described


def _open_checkpoint(source: DictConfig) -> Checkpoint:
    """What `path` and `adapter` name: a model, a base with an adapter, or an adapter that names its base."""
    path = locate(str(source.path), source.get("revision"))
    if source.get("adapter") is not None:
        return open_adapter(open_checkpoint(path), locate(str(source.adapter)))
    if not is_adapter(path):
        return open_checkpoint(path)
    name, revision = declared_base(path)
    try:
        base = open_checkpoint(locate(name, revision))
    except AdammsError as error:
        raise AdammsError(
            f"{error} It is the base that {path / ADAPTER_CONFIG} names; if it is elsewhere, give path=BASE "
            f"adapter={path}"
        ) from error
    return open_adapter(base, path)


def check_sizes(checkpoint: Checkpoint) -> None:
    """Raise AdammsError if the target's adapter adds or resizes a tensor: the base's config.json is kept."""
    if isinstance(checkpoint, AdaptedCheckpoint):
        for name in checkpoint.changes:
            old, new = checkpoint.base.tensors.get(name), checkpoint.tensors[name]
            if old is None or old.shape != new.shape:
                instead = "where the base has none" if old is None else f"instead of {list(old.shape)}"
                raise AdammsError(
                    f"model.target: the adapter makes {name} {list(new.shape)} {instead}, which does not go "
                    f"with the base's config.json and tokenizer; materialise it first"
                )


def origins_of(source: DictConfig) -> list[str]:
    """The base and, if there is one, the adapter, for people."""
    path, adapter = str(source.path), source.get("adapter")
    return [_name(path)] if adapter is None else [_name(path), _name(str(adapter))]


def _name(path: str) -> str:
    """A hub id as it is; of a local folder the last part."""
    return path if not Path(path).expanduser().exists() else Path(path).expanduser().resolve().name


def format_of(model: Described) -> str | None:
    """The name of the architecture; None if that was not asked."""
    return model.architecture.name if isinstance(model, Model) else None


def advice(model: Described, engine: str) -> str:
    """What to do instead of running the model in `engine`, where that cannot; '' where it may."""
    return model.architecture.inference.get(engine, "") if isinstance(model, Model) else ""
