"""mode=doctor: is everything there that this configuration needs? Looks, and writes and downloads nothing but
the pictures that are asked about, to where a run looks for them.

What the machine has is in `environment`.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adamms.app.checks import environment, packages
from adamms.app.checks.environment import ABSENT, BAD, GOOD, Finding
from adamms.app.config.build import Missing
from adamms.app.donors import understood
from adamms.app.live import check_asked
from adamms.app.questions import load_questions
from adamms.app.settings import Run, Source
from adamms.checkpoint.hub.location import cached
from adamms.checkpoint.reader import open_checkpoint, read_config
from adamms.data.digits import Digits
from adamms.data.example import Example
from adamms.engines.logs.replay import Replay
from adamms.errors import AdammsError, install
from adamms.models.registration import is_text_only
from adamms.report.console import Console
from adamms.report.result import Result
from adamms.search.evidence import PARENTS
from adamms.system.sizes import scaled


def doctor(run: Run, console: Console) -> Result:
    """Print what was found and what to do; an error at the end if something is in this run's way.

    Raises:
        AdammsError: how many things are wrong.
    """
    findings = []
    with console.stage("look around", unit="findings") as advance:
        for finding in _look(run, console):
            findings.append(_spared(run, finding))
            advance(1)
    for finding in findings:
        console.finding(finding.subject, finding.state, finding.detail, finding.advice)
    wrong = [finding.subject for finding in findings if finding.state == BAD]
    if wrong:
        raise AdammsError(f"doctor: {len(wrong)} in the way of this configuration: {', '.join(wrong)}")
    console.say("doctor: nothing is in the way of this configuration")
    return Result(title="doctor", timings=console.timings)


def _look(run: Run, console: Console) -> Iterator[Finding]:
    yield environment.python()
    yield from packages.packages()
    yield (torchvision := environment.torchvision())
    yield environment.processors()
    yield environment.merging()
    yield from environment.gpus()
    if environment.has_vllm():
        used = any(extra == "vllm" for *_, extra in _asking(run))
        yield environment.vllm() if used else environment.untried_vllm()
    yield environment.wandb()
    yield environment.hub()
    yield environment.slurm()
    yield from _needed(run)
    yield from _models(run)
    if torchvision.state == GOOD:  # else no processor can be imported
        yield from _questions(run, console)
    yield from _folders(run)


def _needed(run: Run) -> Iterator[Finding]:
    """Extras that the configuration asks for and that are not there."""
    for where, part, extra in _asking(run):
        if not (environment.has_vllm() if extra == "vllm" else packages.installed(extra)):
            name = f"{type(part).__module__}.{type(part).__name__}"
            yield Finding(where, BAD, f"{name} needs the extra {extra}", install(extra))


def _asking(run: Run) -> list[tuple[str, object, str]]:
    """(Key of the configuration, what is there, the extra that it needs)."""
    difference = getattr(run.strategy, "difference", None)
    parts = (("engine", run.engine), ("track", run.tracker), ("search.difference", difference))
    return [(where, part, extra) for where, part in parts if (extra := getattr(type(part), "extra", ""))]


def _spared(run: Run, finding: Finding) -> Finding:
    """A broken extra is in nobody's way who does not use it."""
    used = {extra for *_, extra in _asking(run)}
    extra = finding.subject.lower().removeprefix("extra ").removesuffix("-cpu")
    unused = extra in {"vllm", *packages.EXTRAS} - used
    return replace(finding, state=ABSENT) if unused and finding.state == BAD else finding


def _models(run: Run) -> Iterator[Finding]:
    """Whether the models are here, or will have to be downloaded."""
    if run.models.prepare is not None:
        yield Finding("models", GOOD, "made on this machine when first needed")
        return
    for source in filter(None, (run.models.target, *run.models.donors.values(), run.models.ancestor)):
        if source.keys.path is None:
            yield Finding(source.where, BAD, "no path", f"{source.where}.path=FOLDER or a hub id")
        else:
            yield _model(source)


def _model(source: Source) -> Finding:
    try:
        size = _bytes_of(source)
    except AdammsError as error:
        return Finding(source.where, BAD, str(error))
    if size is None:
        advice = f"hf download {source.path}"
        return Finding(source.where, ABSENT, f"{source.path} is not in the hub's cache", advice)
    return Finding(source.where, GOOD, f"{source.path}: {scaled(size, 'B')}")


def _bytes_of(source: Source) -> int | None:
    """Of all its tensors; None where the model is not here yet.

    Raises:
        AdammsError: it is here, and broken.
    """
    folder = cached(source.path, source.keys.revision)
    return None if folder is None else sum(e.nbytes for e in open_checkpoint(folder).tensors.values())


def _questions(run: Run, console: Console) -> Iterator[Finding]:
    """Whether the data can be read, and can be asked of the models that are here."""
    if isinstance(run.engine, Replay) or isinstance(run.data, Digits):
        return  # no data, or data that are made when first needed
    if isinstance(run.data, Missing) and run.data.key == "data":
        yield Finding("data", ABSENT, "none is named; a search needs some", "data=file data.path=FILE")
        return
    from adamms.engines.askable import check_images  # takes seconds to import

    try:
        questions = load_questions(run, console)
        asked = questions.asked(run.scorer is not None)
        check_images(asked, lambda _: None)
    except AdammsError as error:
        yield Finding("data", BAD, str(error))
        return
    yield Finding("data", GOOD, f"{len(questions.data.examples)} examples, {len(asked)} are asked about")
    yield from _askable(run, run.models.target, asked, BAD)
    parents = PARENTS in run.strategy.needs
    for donor in run.models.donors.values() if parents or run.score_donors else ():
        yield from _askable(run, donor, asked, BAD if parents else ABSENT)


def _askable(run: Run, source: Source, examples: Sequence[Example], otherwise: str) -> Iterator[Finding]:
    """Whether a model can be asked these examples, if all that it needs is here; `_models` tells if not."""
    try:
        folder = None if source.keys.path is None else cached(source.path, source.keys.revision)
        tokenizer = source.keys.tokenizer is None or cached(source.keys.tokenizer) is not None
    except AdammsError:
        return
    if folder is None or not tokenizer or not (folder / "config.json").is_file():
        return
    if source.where != run.models.target.where and is_text_only(read_config(folder)):
        count, examples = len(examples), understood(source, folder, examples)
        if not examples:
            said = f"a language model alone: it is not asked any of the {count} questions"
            yield Finding(f"questions of {source.where}", ABSENT, said)
            return
    try:
        check_asked(run, source, folder, examples, lambda _: None)
    except AdammsError as error:
        yield Finding(f"questions of {source.where}", otherwise, str(error))
    else:
        yield Finding(f"questions of {source.where}", GOOD, "its processor takes them")


def _folders(run: Run) -> Iterator[Finding]:
    """Whether what a run writes can be written, and whether the merged model would fit."""
    output = run.output / "model"
    if output.exists():
        yield Finding("output", BAD, f"{output} exists already", "choose another output")
    else:
        yield _space("output", output, _bytes_needed(run.models.target))
    if run.store is not None:
        yield _space("store", run.store)
    yield _space("cache", run.cache)


def _space(where: str, folder: Path, needed: int = 0) -> Finding:
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return Finding(where, BAD, f"{parent} is not a folder that you may write to", f"{where}=FOLDER")
    free = shutil.disk_usage(parent).free
    text = f"{folder}: {scaled(free, 'B')} free" + (f", {scaled(needed, 'B')} needed" if needed else "")
    return Finding(where, GOOD if free > needed else BAD, text, "" if free > needed else "make room")


def _bytes_needed(target: Source) -> int:
    """Of the merged model; 0 where the target is not here, or broken, which `_models` tells."""
    try:
        return (None if target.keys.path is None else _bytes_of(target)) or 0
    except AdammsError:
        return 0
