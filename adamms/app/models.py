"""The models of a run, opened and described.

Reads no weight, unless the mapper describes a model by its weights. Knows nothing of merging.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamms.app.checks.broken_models import check_target, empty_tensors, problems
from adamms.app.class_facts import ClassFacts
from adamms.app.settings import Source, Sources
from adamms.architectures.leftovers import LEFTOVERS
from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint
from adamms.checkpoint.adapters.adapter import declared_base, is_adapter, open_adapter
from adamms.checkpoint.adapters.tying import is_head
from adamms.checkpoint.hub.location import locate, not_here
from adamms.checkpoint.hub.remote import open_headers
from adamms.checkpoint.reader import ADAPTER_CONFIG, Checkpoint, open_checkpoint
from adamms.engines.base import PromptFiles
from adamms.errors import AdammsError
from adamms.mapping.content.sketch import SketchedModel
from adamms.mapping.mapper import Mapper
from adamms.mapping.specs.model import Model
from adamms.merge.method import ANCESTOR, TARGET, check_donor_names
from adamms.models.registration import is_text_only
from adamms.report.card import Origin

# A checkpoint as a mapper describes it: through a spec, or by its weights.
Described = Model | SketchedModel
# (title, total, unit) -> a context that is given `advance(count)`.
Stage = Callable[..., AbstractContextManager[Callable[[int], None]]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class OpenModel:
    """One model of a run.

    Args:
        source: where it was said to be.
        described: its tensors, as the mapper describes them.
    """

    source: Source
    described: Described

    @property
    def checkpoint(self) -> Checkpoint:
        return self.described.checkpoint

    @property
    def architecture(self) -> str | None:
        """The name of its format; None where the mapper does without."""
        return self.described.architecture.name if isinstance(self.described, Model) else None

    @property
    def parts(self) -> list[str]:
        """For people: its hub id or folder name and, if there is one, its adapter's."""
        adapter = self.source.keys.adapter
        return [_name(self.source.path)] + ([] if adapter is None else [_name(adapter)])

    @property
    def name(self) -> str:
        return " + ".join(self.parts)

    def origins(self) -> Iterator[Origin]:
        """For the model card: the model and, without the licence of its base, its adapter."""
        base, *adapter = self.parts
        yield Origin.of(base, self.checkpoint.folder)
        yield from (Origin(name) for name in adapter)

    @property
    def text_only(self) -> bool:
        """Whether it is a language model alone, by its class or because nothing else is in its files."""
        if is_text_only(self.checkpoint.config) or not isinstance(self.described, Model):
            return is_text_only(self.checkpoint.config)
        labels = self.described.labels.values()
        return all(label.role is not None or label.reason in LEFTOVERS for label in labels)

    def advice(self, engine: str) -> str:
        """What to do instead of running it in `engine`, where that cannot; "" where it may."""
        advised = self.described.architecture.inference if isinstance(self.described, Model) else {}
        return next((text for name, text in advised.items() if name == engine), "")


@dataclass(frozen=True)
class Models:
    """The models of a run.

        models = open_models(run.models, run.mapper, facts, console.stage)
        models.target.checkpoint.tensors["lm_head.weight"].shape  # (152064, 3584)
        models.donors["onevision"].name                           # 'lmms-lab/llava-onevision-qwen2-7b-ov'

    Args:
        target, donors, ancestor: each opened and described.
    """

    target: OpenModel
    donors: Mapping[str, OpenModel]
    ancestor: OpenModel | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """TARGET, ANCESTOR and every donor -> a digest of its weights."""
        opened = {TARGET: self.target, **self.donors}
        if self.ancestor is not None:
            opened[ANCESTOR] = self.ancestor
        return {name: model.checkpoint.fingerprint for name, model in opened.items()}

    def warnings(self) -> Iterator[str]:
        """What is to be said of them before they are merged, each with its key."""
        others = [*self.donors.values(), *([] if self.ancestor is None else [self.ancestor])]
        for model in (self.target, *others):
            if isinstance(model.checkpoint, AdaptedCheckpoint) and model.checkpoint.note:
                yield f"{model.source.where}: {model.checkpoint.note}"
        for model in others:
            yield from (f"{model.source.where}: {problem}" for problem in problems(model.described))

    def dequantised(self) -> dict[str, str]:
        """Name -> what is said of a model that is quantised and read in 16 bits."""
        named = {TARGET: self.target, **self.donors}
        if self.ancestor is not None:
            named[ANCESTOR] = self.ancestor
        return {name: said for name, model in named.items() if (said := model.checkpoint.dequantised)}

    def origins(self, with_ancestor: bool) -> list[Origin]:
        """Each model once, for the model card: target, donors and perhaps the ancestor."""
        models = [self.target, *self.donors.values()]
        if with_ancestor and self.ancestor is not None:
            models.append(self.ancestor)
        found: dict[str, Origin] = {}
        for model in models:
            for origin in model.origins():
                found.setdefault(origin.name, origin)
        return list(found.values())


def open_models(
    sources: Sources, mapper: Mapper, facts: ClassFacts, stage: Stage, headers: Say | None = None
) -> Models:
    """Open everything that `sources` names, and have the mapper describe it.

    Args:
        facts: what is known of the classes of models.
        stage: shows progress where the mapper reads weights.
        headers: given where headers are enough, see `open_source`.

    Raises:
        AdammsError: a model that is not there or that the mapper cannot describe, each with its key.
    """
    check_donor_names(sources.donors)
    if sources.prepare is not None:
        sources.prepare()
    named = {TARGET: sources.target, **sources.donors}
    if sources.ancestor is not None:
        named[ANCESTOR] = sources.ancestor
    opened = {name: open_source(source, headers) for name, source in named.items()}
    _check_sizes(opened[TARGET])
    for problem in empty_tensors(opened[TARGET]):
        raise AdammsError(f"{sources.target.where}: {problem}")
    found: dict[str, OpenModel] = {}
    for name, source in named.items():

        def named_stage(title: str, *rest: Any, name: str = name) -> AbstractContextManager[Any]:
            return stage(f"{title} {name}", *rest)

        with errors_name_key(source.where):
            described = facts.describe(mapper, opened[name], source.keys.architecture, named_stage)
        found[name] = OpenModel(source, described)
    check_target(sources.target.where, found[TARGET].described)
    return Models(found[TARGET], {name: found[name] for name in sources.donors}, found.get(ANCESTOR))


def prompt_files(source: Source) -> PromptFiles:
    """The tokenizer and chat template that were named for a model."""
    keys = source.keys
    with errors_name_key(f"{source.where}.tokenizer"):
        tokenizer = None if keys.tokenizer is None else locate(keys.tokenizer, weights=False)
    return PromptFiles(tokenizer, keys.chat_template)


@contextmanager
def errors_name_key(where: str) -> Iterator[None]:
    """Errors in the body begin with the key."""
    try:
        yield
    except AdammsError as error:
        raise AdammsError(f"{where}: {error}") from error


def open_source(source: Source, headers: Say | None = None) -> Checkpoint:
    """What a source names: a model, a base with an adapter, or an adapter that names its base.

    Args:
        headers: given where headers are enough: told of a model that must be downloaded all the same.
    """
    given = source.path
    with errors_name_key(source.where):
        absent = None if headers is None or source.keys.adapter else not_here(given, source.keys.revision)
        if headers is not None and absent is not None:
            if (found := open_headers(absent)) is not None:
                return found
            headers(f"{source.where}: the headers of {given} come with its weights: they are downloaded")
        path = locate(given, source.keys.revision)
        if source.keys.adapter is not None:
            return open_adapter(open_checkpoint(path), locate(source.keys.adapter))
        if not is_adapter(path):
            return open_checkpoint(path)
        name, revision = declared_base(path)
        try:
            base = open_checkpoint(locate(name, revision))
        except AdammsError as error:
            raise AdammsError(
                f"{error} It is the base that {path / ADAPTER_CONFIG} names; if it is elsewhere, give "
                f"path=BASE adapter={path}"
            ) from error
        return open_adapter(base, path)


def _check_sizes(target: Checkpoint) -> None:
    """Raise AdammsError if the target's adapter adds or resizes a tensor: the base's config.json is kept."""
    if not isinstance(target, AdaptedCheckpoint):
        return
    for name in target.changes:
        if target.untied and is_head(name):
            continue
        old, new = target.base.tensors.get(name), target.tensors[name]
        if old is None or old.shape != new.shape:
            instead = "where the base has none" if old is None else f"instead of {list(old.shape)}"
            raise AdammsError(
                f"model.target: the adapter makes {name} {list(new.shape)} {instead}, which does not go "
                f"with the base's config.json and tokenizer; materialise it first"
            )


def _name(path: str) -> str:
    """A hub id as it is; of a local folder the last part."""
    folder = Path(path).expanduser()
    return folder.resolve().name if folder.exists() else path
