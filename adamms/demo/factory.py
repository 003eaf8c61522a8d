"""Builds the demo's three checkpoints in a folder: ancestor, target, donor; once per recipe.

It owns the order of the stages, the files and their atomicity. What is learned is in `training`
and `batches`, what the models are in `models`.
"""

import json
import os
import shutil
import socket
from dataclasses import asdict, replace
from pathlib import Path

import torch

from adamms.data.digits import Glyphs
from adamms.demo import batches, models, training
from adamms.demo.training import Regime
from adamms.errors import AdammsError
from adamms.track.console import Console

VERSION = 1  # of the recipe: raise it with any change that alters the checkpoints
MANIFEST = "demo.json"
DEFAULT_REGIME = Regime()


def build(
    folder: Path,
    seed: int = 0,
    *,
    regime: Regime = DEFAULT_REGIME,
    effort: float = 1.0,
    console: Console | None = None,
) -> None:
    """Make `<folder>/{ancestor,target,donor}`, or return at once when they are there.

    The checkpoints appear together, by one rename, when all of them are whole.

    Args:
        folder: made if missing.
        seed: of initialisation and training data.
        regime: lengths and learning rates of the training stages.
        effort: scales the steps of all stages; 1 takes some minutes on two cores.
        console: where progress goes; standard output by default.

    Raises:
        AdammsError: the folder holds something else, or was built by another recipe.
    """
    scaled = _scale(regime, effort)
    manifest = {"version": VERSION, "seed": seed, "regime": asdict(scaled)}
    if _is_built(folder, manifest):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    building = _building_path(folder, os.getpid())
    building.mkdir()
    try:
        _train(building, scaled, seed, console or Console())
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        _publish(building, folder, manifest)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _train(folder: Path, regime: Regime, seed: int, console: Console) -> None:
    """Train the three models, saving each as soon as it is done."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    # The environment is named because Lightning would ask for srun where there is one.
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[LightningEnvironment()])
    glyphs = batches.augment(Glyphs.load("train"), batches.generator(seed, "augment"), copies=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3 * seed)
        ancestor = models.ancestor()
        training.train_ancestor(fabric, ancestor, regime, seed, console.stage)
        models.save_ancestor(ancestor, folder / "ancestor")

        torch.manual_seed(3 * seed + 1)
        target = models.target()
        pupil = training.target_pupil(target, regime)
        training.train_vision(fabric, pupil, glyphs, regime, seed, console.stage)
        models.copy_language(ancestor, target)
        training.align(fabric, pupil, glyphs, regime, seed, console.stage)
        training.tune(fabric, pupil, glyphs, regime, seed, console.stage)
        models.save_target(target, folder / "target")

        torch.manual_seed(3 * seed + 2)
        donor = models.donor()
        pupil = training.donor_pupil(donor, regime)
        training.train_vision(fabric, pupil, glyphs, regime, seed, console.stage)
        models.copy_language(ancestor, donor)
        training.align(fabric, pupil, glyphs, regime, seed, console.stage)
        training.tune(fabric, pupil, glyphs, regime, seed, console.stage)
        models.save_donor(donor, folder / "donor")


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
