"""Builds the demo's checkpoints in a folder: ancestor, target, donor, perhaps a second; once per recipe.

It owns the order of the stages, the files and their atomicity. What is learned is in `training`
and `batches`, what the models are in `pairs`.
"""

import json
import os
import shutil
import socket
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adamms.data.digits import Glyphs
from adamms.demo import batches, models, training
from adamms.demo.pairs import PAIRS, Member, Pair
from adamms.demo.stages import Key, StageCache
from adamms.demo.training import Lessons, Pupil, Regime
from adamms.errors import AdammsError, check_choice
from adamms.report.console import Console

if TYPE_CHECKING:
    from lightning.fabric import Fabric

VERSION = 2  # of the recipe: raise it with any change that alters the checkpoints
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
    """Make `<folder>/{ancestor,target,donor}`, or return at once when they are there.

    A regime with two donors makes `second` too. The checkpoints appear together, by one rename, when all
    of them are whole.

    Args:
        folder: made if missing.
        seed: of initialisation and training data.
        pair: which architectures; a name in `pairs.PAIRS`.
        regime: lengths and learning rates of the training stages.
        effort: scales the steps of all stages; 1 takes some minutes on two cores.
        stages: where stages that pairs of other regimes have in common are kept; None keeps none.
        console: where progress goes; standard output by default.

    Raises:
        AdammsError: the folder holds something else, or was built by another recipe.
    """
    check_choice("The demo's pair", pair, PAIRS)
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
    """Train the models, saving each as soon as it is done."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    # The environment is named because Lightning would ask for srun where there is one.
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[LightningEnvironment()])
    glyphs = batches.augment(Glyphs.load("train"), batches.generator(seed, "augment"), copies=4)
    with torch.random.fork_rng(devices=[]):
        school = _School(fabric, glyphs, pair, regime, seed, stages, console)
        ancestor, key = school.ancestor()
        pair.save_ancestor(ancestor, folder / "ancestor")
        target = school.pupil(0, pair.target, training.target_lessons(regime), ancestor, key)
        pair.target.save(target, folder / "target")
        donor = school.pupil(1, pair.donor, training.donor_lessons(regime), ancestor, key)
        pair.donor.save(donor, folder / "donor")
        if regime.second_skills:
            second = school.pupil(1, pair.donor, training.second_lessons(regime), ancestor, key)
            pair.donor.save(second, folder / "second")


@dataclass(frozen=True)
class _School:
    """The stages in their order, for one seed."""

    fabric: "Fabric"
    glyphs: Glyphs
    pair: Pair
    regime: Regime
    seed: int
    stages: StageCache
    console: Console

    def ancestor(self) -> tuple[Any, Key]:
        """The language model that all others start from, and what it depends on."""
        regime, seed = self.regime, self.seed
        torch.manual_seed(3 * seed)
        model = self.pair.ancestor()
        fields = ("steps", "rate", "turns")
        key = {name: getattr(regime, f"ancestor_{name}") for name in fields}
        key |= {name: getattr(regime, name) for name in ("known_digits", "rare_share", "batch")}
        key |= {"stage": "ancestor", "seed": seed} | self.pair.mark
        stage = partial(training.train_ancestor, self.fabric, model, regime, seed, self.console.stage)
        return model, self.stages.train(model, key, stage)

    def pupil(
        self, number: int, member: Member[Any], lessons: Lessons, ancestor: nn.Module, known: Key
    ) -> Any:
        """A multimodal model through its stages; `number` is part of the seed."""
        regime, seed = self.regime, self.seed
        torch.manual_seed(3 * seed + 1 + number)
        model = member.build()
        pupil = Pupil(model, member.dissect(model), lessons)
        common = (self.fabric, pupil, self.glyphs, regime, seed, self.console.stage)
        vision = {"stage": f"{lessons.name}: vision", "seed": seed, "steps": lessons.vision_steps}
        vision |= {"rate": regime.vision_rate, "batch": regime.vision_batch} | self.pair.mark
        self.stages.train(model, vision, partial(training.train_vision, *common))
        models.copy_language(ancestor, model)
        aligned = {"stage": f"{lessons.name}: alignment", "seed": seed, "steps": lessons.alignment_steps}
        aligned |= {
            "rate": lessons.alignment_rate,
            "batch": regime.batch,
            "vision": vision,
            "language": known,
        }
        self.stages.train(model, aligned, partial(training.align, *common))
        training.tune(*common)
        return model


def _scale(regime: Regime, effort: float) -> Regime:
    """Every `*_steps` field times `effort`, at least one step."""
    if effort <= 0:
        raise AdammsError(f"The demo's effort must be above 0; found {effort}.")
    steps = {
        name: max(1, round(value * effort))
        for name, value in asdict(regime).items()
        if name.endswith("_steps")
    }
    return replace(regime, **steps)


def _is_built(folder: Path, manifest: dict[str, object]) -> bool:
    """Whether `folder` holds these checkpoints; those of an earlier version of the recipe are removed.

    Raises:
        AdammsError: it holds anything else.
    """
    path = folder / MANIFEST
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise AdammsError(f"{folder} is not empty and holds no demo models ({MANIFEST} is missing).")
        return False
    found = json.loads(path.read_text())
    if found.get("version") != manifest["version"]:  # an earlier adamms wrote it: a cache out of date
        shutil.rmtree(folder)
        return False
    if found != manifest:
        raise AdammsError(
            f"{folder} holds demo models of another recipe. Expected {json.dumps(manifest)}, "
            f"found {json.dumps(found)}. Remove the folder or choose another."
        )
    return True


def _publish(building: Path, folder: Path, manifest: dict[str, object]) -> None:
    """Rename into place; where another process was faster with the same recipe, its result stands."""
    try:
        building.rename(folder)
    except OSError:
        if not _is_built(folder, manifest):
            raise


def _building_path(folder: Path, pid: int) -> Path:
    return folder.with_name(f".{folder.name}.building-{socket.gethostname()}-{pid}")


def _remove_abandoned(folder: Path) -> None:
    """Remove what builds left whose process on this machine is gone."""
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
        return True
    return True
