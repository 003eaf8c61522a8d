"""The engine with a model in it, behind the store of answers, and what is checked before it starts."""

from collections.abc import Callable, Sequence
from pathlib import Path

from adamms.app.checks.runnable import runnable_folder
from adamms.app.class_facts import ClassFacts
from adamms.app.models import OpenModel, errors_name_key, open_source, prompt_files
from adamms.app.settings import Run, Source
from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint
from adamms.checkpoint.reader import Checkpoint, read_config
from adamms.data.example import Example
from adamms.engines.logs.replay import Replay
from adamms.engines.stored_engine import StoredEngine
from adamms.errors import AdammsError
from adamms.mapping.specs.resolve import SpecMapper
from adamms.report.console import Console


def check_asked(
    run: Run, source: Source, folder: Path, examples: Sequence[Example], advance: Callable[[int], None]
) -> None:
    """See that a model can be asked these examples, before anything is mapped or any weight is read.

    Args:
        source: may name a tokenizer and a chat template.
        folder: of the model.

    Raises:
        AdammsError: the engine is not installed, the model has no processor, or examples that the processor
            refuses, by name.
    """
    from adamms.engines.askable import check_askable  # takes seconds to import

    assert not isinstance(run.engine, Replay)
    files = prompt_files(source)
    run.engine.live(folder, files)  # nothing starts
    processor = run.engine.processor(folder, files)
    limits = run.engine.limits_of(read_config(folder), processor)
    check_askable(str(folder), processor, examples, advance, limits)


def check_target(run: Run, console: Console, examples: Sequence[Example]) -> None:
    """The same of the target, which is made or downloaded if need be."""
    if run.models.prepare is not None:
        run.models.prepare()
    source = run.models.target
    target = open_source(source)
    if isinstance(run.mapper, SpecMapper):  # which reads headers only
        with errors_name_key(source.where):
            described = ClassFacts(run.cache).describe(run.mapper, target, source.keys.architecture)
        check_runnable(run, OpenModel(source, described))
    with console.stage("check questions", len(examples), "examples") as advance:
        check_asked(run, source, target.folder, examples, advance)


def live(run: Run, console: Console, model: OpenModel) -> StoredEngine:
    """The engine with this model in it, behind the store of answers; a null store keeps nothing.

    Raises:
        AdammsError: the model's format is one that the engine cannot run; the message says what to do.
    """
    check_runnable(run, model)
    return live_checkpoint(run, console, model.checkpoint, model.source)


def live_checkpoint(run: Run, console: Console, checkpoint: Checkpoint, source: Source) -> StoredEngine:
    """The same for a checkpoint that was not described.

    Args:
        source: may name a tokenizer and a chat template.
    """
    assert not isinstance(run.engine, Replay), "settings lets logs in with mode=search alone"
    folder = runnable_folder(checkpoint, run.cache, int(run.max_shard_gb * 1e9), console)
    engine = run.engine.live(folder, prompt_files(source))
    return StoredEngine(engine, run.store, checkpoint, run.engine.verify_swaps)


def check_runnable(run: Run, model: OpenModel) -> None:
    """Raise AdammsError if the engine is known not to run the model's format, or not under its adapter."""
    checkpoint = model.checkpoint
    if isinstance(checkpoint, AdaptedCheckpoint) and checkpoint.untied:
        raise AdammsError(
            f"{model.source.where}: {checkpoint.note}. An engine starts from the base, where they are one. "
            f"Write the model out first (mode=merge merge.alpha=0 with it as model.target); give OUT/model"
        )
    engine = getattr(run.engine, "name", "")
    if instead := model.advice(engine):
        raise AdammsError(f"{model.described} cannot be run with engine={engine}. {instead}")


def tell_of_store(console: Console, engine: StoredEngine) -> None:
    """Say how much the store had; warn of what is damaged in it, or not proven."""
    if engine.damaged:
        console.warn(
            f"store: {engine.damaged} torn or damaged lines in {engine.folder} are left out; what they "
            f"answered is asked again"
        )
    if engine.unproven:
        which = "are of a run that was killed before its swaps were proven, or is at work; they count"
        console.warn(f"store: {engine.unproven} answers in {engine.folder} {which}")
    if engine.found:
        console.say(f"store: {engine.found} answers were there, {engine.generated} were generated")
    if engine.scores_found:
        console.say(f"store: {engine.scores_found} scores were there, {engine.scores_made} were made")
