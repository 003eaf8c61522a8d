"""mode=doctor: is everything there that this configuration needs? Looks, and neither writes nor downloads.

Like `pipeline`, above the layers: it knows the configuration. What the machine has is in `environment`.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from adamms.app import environment
from adamms.app.environment import ABSENT, BAD, GOOD, Finding
from adamms.checkpoint.hub import cached
from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError
from adamms.report.console import Console
from adamms.report.result import Result

# What the configuration may name -> the extra that it needs.
NEEDS = {
    "adamms.engines.vllm.engine.Vllm": "vllm",
    "adamms.report.trackers.wandb.Wandb": "wandb",
    "adamms.search.difference.Embedding": "embedding",
}


def doctor(config: DictConfig, console: Console) -> Result:
    """Print what was found and what to do; an error at the end if something is in this run's way.

    Raises:
        AdammsError: how many things are wrong.
    """
    findings = []
    with console.stage("look around", unit="findings") as advance:
        for finding in _look(config):
            findings.append(finding)
            advance(1)
    console.findings([(f.subject, f.state, f.detail, f.advice) for f in findings])
    wrong = [finding.subject for finding in findings if finding.state == BAD]
    if wrong:
        raise AdammsError(f"doctor: {len(wrong)} in the way of this configuration: {', '.join(wrong)}")
    console.say("doctor: nothing is in the way of this configuration")
    return Result(title="doctor", timings=console.timings)


def _look(config: DictConfig) -> Iterator[Finding]:
    yield environment.python()
    yield from environment.packages()
    yield environment.torchvision()
    yield environment.processors()
    yield from environment.gpus()
    if environment.has_vllm():
        yield environment.vllm()
    yield environment.wandb()
    yield environment.hub()
    yield environment.slurm()
    yield from _needed(config)
    yield from _models(config)
    yield from _folders(config)


def _needed(config: DictConfig) -> Iterator[Finding]:
    """Extras that the configuration asks for and that are not there."""
    nodes = {"engine": config.engine, "track": config.track, "search.difference": config.search.difference}
    for where, node in nodes.items():
        target = str(node.get("_target_"))
        extra = NEEDS.get(target)
        there = environment.has_vllm() if extra == "vllm" else extra is None or environment.installed(extra)
        if not there:
            yield Finding(where, BAD, f"{target} needs the extra {extra}", f"pip install -e '.[{extra}]'")


def _models(config: DictConfig) -> Iterator[Finding]:
    """Whether the models are here, or will have to be downloaded."""
    if config.model.get("prepare") is not None:
        yield Finding("models", GOOD, "made on this machine when first needed")
        return
    sources = {"model.target": config.model.target}
    sources |= {f"model.donors.{name}": donor for name, donor in config.model.donors.items()}
    if config.model.get("ancestor") is not None and config.model.ancestor.get("path") is not None:
        sources["model.ancestor"] = config.model.ancestor
    for where, source in sources.items():
        if OmegaConf.is_missing(source, "path") or source.get("path") is None:
            yield Finding(where, BAD, "no path", f"{where}.path=FOLDER or a hub id")
            continue
        yield _model(where, source)


def _model(where: str, source: DictConfig) -> Finding:
    path = str(source.path)
    try:
        folder = cached(path, source.get("revision"))
        if folder is None:
            return Finding(where, ABSENT, f"{path} is not in the hub's cache", f"hf download {path}")
        checkpoint = open_checkpoint(folder)
    except AdammsError as error:
        return Finding(where, BAD, str(error))
    size = sum(entry.nbytes for entry in checkpoint.tensors.values())
    return Finding(where, GOOD, f"{path}: {len(checkpoint.tensors)} tensors, {size / 1e9:.2f} GB")


def _folders(config: DictConfig) -> Iterator[Finding]:
    """Whether what a run writes can be written, and whether the merged model would fit."""
    output = Path(config.output) / "model"
    if output.exists():
        yield Finding("output", BAD, f"{output} exists already", "choose another output")
    else:
        yield _space("output", output, _bytes_of_target(config))
    if config.store is not None:
        yield _space("store", Path(str(config.store)).expanduser())
    yield _space("cache", Path(str(config.cache)).expanduser())


def _space(where: str, folder: Path, needed: int = 0) -> Finding:
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return Finding(where, BAD, f"{parent} is not a folder that you may write to", f"{where}=FOLDER")
    free = shutil.disk_usage(parent).free
    text = f"{folder}: {free / 1e9:.1f} GB free" + (f", {needed / 1e9:.2f} GB needed" if needed else "")
    return Finding(where, GOOD if free > needed else BAD, text, "" if free > needed else "make room")


def _bytes_of_target(config: DictConfig) -> int:
    """Of the merged model; 0 where the target is not here yet."""
    source = config.model.target
    if OmegaConf.is_missing(source, "path") or source.get("path") is None:
        return 0
    try:
        folder = cached(str(source.path), source.get("revision"))
        return sum(e.nbytes for e in open_checkpoint(folder).tensors.values()) if folder is not None else 0
    except AdammsError:
        return 0
