"""Builds the demo's checkpoints in a folder, once: ancestor, target, donor, perhaps a second donor.

Owns the order of the stages and the files. What is learned is in `training` and `batches`, what the models
are in `pairs`.
"""

import json
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adamms.data.digits import Glyphs
from adamms.demo import batches, language, models
from adamms.demo.pairs import PAIRS, Member, Pair
from adamms.demo.stages import Key, StageCache
from adamms.demo.training import Pupil, Regime, Trainer
from adamms.errors import AdammsError, check_choice
from adamms.report.console import Console

VERSION = 2  # raise it with any change that alters the checkpoints
MANIFEST = "demo.json"
DEFAULT_REGIME = Regime()


def build(
    folder: Path,
    seed: int = 0,
    *,
    pair: str = "qwen2",
    regime: Regime = DEFAULT_REGIME,
    effort: float = 1.0,
    stages: Path | None = None,
    console: Console | None = None,
) -> None:
    """Make `<folder>/{ancestor,target,donor}`; return at once if they are there.

    A regime with two donors makes `second` too. The checkpoints appear together, by one rename.

    Args:
        folder: made if missing.
        seed: of initialisation and training data.
        pair: which architectures and language; a name in `pairs.PAIRS`.
        regime: lengths and learning rates of the training stages.
        effort: scales the steps of all stages; 1 takes some minutes on two cores.
        stages: where each finished stage is kept, for a build that was interrupted and for other regimes that
            share it; None keeps none.
        console: where progress goes; standard output by default.

    Raises:
        AdammsError: the folder holds something else, or was built by another recipe.
    """
    check_choice("The demo's pair", pair, PAIRS)
    known = {skill.name for skill in PAIRS[pair].language.skills}
    for skill in (*regime.target_skills, *regime.donor_skills, *regime.second_skills):
        check_choice(f"A skill of the demo's pair {pair}", skill, known)
    scaled = _scale(regime, effort)
    settings = json.loads(json.dumps(asdict(scaled)))  # as it is read back: lists, no tuples
    manifest = {"version": VERSION, "seed": seed, "regime": settings} | PAIRS[pair].mark
    if _is_built(folder, manifest):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    building = _building_path(folder, os.getpid())
    building.mkdir()
    try:
        kept = StageCache(stages, VERSION)
        _train(building, PAIRS[pair], scaled, seed, kept, console or Console())
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        _publish(building, folder, manifest)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _train(folder: Path, pair: Pair, regime: Regime, seed: int, stages: StageCache, console: Console) -> None:
    """Train the models and save each when it is done."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    # The environment is named; else Lightning asks for srun where there is one.
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[LightningEnvironment()])
    glyphs = batches.augment(Glyphs.load("train"), batches.generator(seed, "augment"), copies=4)
    trainer = Trainer(fabric, glyphs, regime, pair.language, seed, console.stage)
    pupils = [_Lessons("target", pair.target, regime.target_skills)]
    pupils.append(_Lessons("donor", pair.donor, regime.donor_skills))
    if regime.second_skills:
        pupils.append(_Lessons("donor", pair.donor, regime.second_skills, folder="second"))
    with torch.random.fork_rng(devices=[]):
        school = _School(trainer, pair, stages)
        keys = {json.dumps(key) for lessons in pupils for key in school.keys(lessons)}
        found = sum(stages.holds(json.loads(key)) for key in keys)
        kept = f", {found} were found in {stages.folder}" if found else ""
        console.say(f"demo models: {len(keys) - found} of {len(keys)} training stages are left{kept}")
        ancestor = school.ancestor(school.keys(pupils[0])[0])
        models.save(ancestor, {}, language.tokenizer(pair.language), folder / "ancestor")
        for lessons in pupils:
            model, member = school.pupil(lessons, ancestor), lessons.member
            processor = member.processor(pair.language)
            models.save(model, member.names, processor, folder / (lessons.folder or lessons.name))


@dataclass(frozen=True)
class _Lessons:
    """What a target or donor is, and the skills that it is taught; `folder` if not named as it is."""

    name: str
    member: Member
    skills: Sequence[str]
    folder: str = ""


@dataclass(frozen=True)
class _School:
    """The models of a pair through their stages, each stage from `stages` where it is kept."""

    trainer: Trainer
    pair: Pair
    stages: StageCache

    def keys(self, lessons: _Lessons) -> tuple[Key, Key, Key, Key]:
        """Of all stages of a target or donor: language, vision, alignment, fine-tuning."""
        regime, seed, name = self.trainer.regime, self.trainer.seed, lessons.name

        def own(*fields: str) -> Key:
            """What the regime says of the model, by the fields' names without the model's."""
            return {field.rpartition("_")[2]: getattr(regime, f"{name}_{field}") for field in fields}

        language = {field: getattr(regime, f"ancestor_{field}") for field in ("steps", "rate", "turns")}
        language |= {field: getattr(regime, field) for field in ("known_digits", "rare_share", "batch")}
        language |= {"stage": "ancestor", "seed": seed} | self.pair.mark
        vision = {"stage": f"{name}: vision", "seed": seed, "rate": regime.vision_rate}
        vision |= own("vision_steps") | {"batch": regime.vision_batch} | self.pair.mark
        aligned = {"stage": f"{name}: alignment", "seed": seed, "batch": regime.batch}
        aligned |= own("alignment_steps", "alignment_rate") | {"vision": vision, "language": language}
        tuned = {"stage": f"{name}: fine-tuning", "seed": seed, "batch": regime.batch, "turns": regime.turns}
        tuned |= own("tuning_steps", "noise") | {"skills": list(lessons.skills), "aligned": aligned}
        tuned |= {"rate": regime.tuning_rate, "vision_rate": regime.tuning_vision_rate}
        return language, vision, aligned, tuned

    def ancestor(self, key: Key) -> Any:
        """The language model that all others start from."""
        torch.manual_seed(3 * self.trainer.seed)
        model = self.pair.ancestor(self.pair.language)
        self.stages.train(model, key, partial(self.trainer.ancestor, model))
        return model

    def pupil(self, lessons: _Lessons, ancestor: nn.Module) -> Any:
        """A target or donor."""
        trainer, name = self.trainer, lessons.name
        torch.manual_seed(3 * trainer.seed + (1 if name == "target" else 2))
        model = lessons.member.build(self.pair.language)
        pupil = Pupil(name, model, lessons.member.dissect(model), lessons.skills)
        _, vision, aligned, tuned = self.keys(lessons)
        self.stages.train(model, vision, partial(trainer.vision, pupil))
        models.copy_language(ancestor, model)
        self.stages.train(model, aligned, partial(trainer.align, pupil))
        self.stages.train(model, tuned, partial(trainer.tune, pupil))
        return model


def _scale(regime: Regime, effort: float) -> Regime:
    """Every `*_steps` field times `effort`, at least one step."""
    if effort <= 0:
        raise AdammsError(f"The demo's effort must be above 0; found {effort}.")
    fields = asdict(regime).items()
    steps = {name: max(1, round(count * effort)) for name, count in fields if name.endswith("_steps")}
    return replace(regime, **steps)


def _is_built(folder: Path, manifest: dict[str, object]) -> bool:
    """Whether `folder` holds these checkpoints. Those of an earlier VERSION are removed.

    Raises:
        AdammsError: it holds anything else.
    """
    path = folder / MANIFEST
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise AdammsError(f"{folder} is not empty and holds no demo models ({MANIFEST} is missing).")
        return False
    found = json.loads(path.read_text())
    if found.get("version") != manifest["version"]:
        shutil.rmtree(folder)
        return False
    if found != manifest:
        raise AdammsError(
            f"{folder} holds demo models of another recipe. Expected {json.dumps(manifest)}, "
            f"found {json.dumps(found)}. Remove the folder or choose another."
        )
    return True


def _publish(building: Path, folder: Path, manifest: dict[str, object]) -> None:
    """Rename into place. If another process was faster with the same recipe, its result stays."""
    try:
        building.rename(folder)
    except OSError:
        if not _is_built(folder, manifest):
            raise


def _building_path(folder: Path, pid: int) -> Path:
    return folder.with_name(f".{folder.name}.building-{socket.gethostname()}-{pid}")


def _remove_abandoned(folder: Path) -> None:
    """Remove what dead processes of this machine left."""
    prefix = _building_path(folder, 0).name.removesuffix("0")
    for path in folder.parent.glob(f"{prefix}*"):
        pid = path.name.removeprefix(prefix)
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
