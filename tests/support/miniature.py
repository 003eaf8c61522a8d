"""Fixtures: folders with the demo's models, trained briefly, once per run; no test changes their files.

Each of three workers trained its own: 5 to 9 s for each of the folders. A worker's end compares their files.
"""

import fcntl
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adamms.demo.factory import build
from adamms.demo.training import Regime
from adamms.report.console import Console

MADE: set[Path] = set()


def files(folder: Path) -> dict[str, list[int]]:
    """Size and time of change of every file, by its path in the folder."""
    found = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found.items()}


def changed(folder: Path) -> list[str]:
    """The files that are not as they were made; a test may add others."""
    made, now = json.loads(folder.with_suffix(".made").read_text()), files(folder)
    return [name for name in made if now.get(name) != made[name]]


@pytest.fixture(scope="session", autouse=True)
def _unchanged() -> Iterator[None]:
    yield
    assert {str(folder): changed(folder) for folder in MADE if changed(folder)} == {}


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, in the first of the run's workers that asks; others wait for it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            folder.with_suffix(".made").write_text(json.dumps(files(partial)))
            partial.rename(folder)
    MADE.add(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_regime() -> Regime:
    return Regime(
        ancestor_steps=2,
        target_vision_steps=1,
        donor_vision_steps=1,
        vision_batch=2,
        target_alignment_steps=1,
        donor_alignment_steps=1,
        target_tuning_steps=1,
        donor_tuning_steps=1,
        batch=2,
        turns=1,
        ancestor_turns=2,
    )


@pytest.fixture(scope="session")
def silent() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory, silent: Console, tiny_regime: Regime) -> Path:
    return once(
        tmp_path_factory, "miniature", lambda folder: build(folder, regime=tiny_regime, console=silent)
    )


@pytest.fixture(scope="session")
def talkative(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`miniature` with its own noise on every matrix of the language models, so that answers differ."""

    def make(folder: Path) -> None:
        shutil.copytree(miniature, folder)
        for seed, name in enumerate(("ancestor", "target", "donor")):
            file = folder / name / "model.safetensors"
            generator = torch.Generator().manual_seed(seed)
            tensors = {
                key: tensor + 0.15 * torch.randn(tensor.shape, generator=generator)
                if "vis" not in key
                else tensor
                for key, tensor in load_file(file).items()
            }
            save_file(tensors, file, metadata={"format": "pt"})

    return once(tmp_path_factory, "talkative", make)


@pytest.fixture(scope="session")
def kin_regime(tiny_regime: Regime) -> Regime:
    """Enough steps for three models that differ and have one ancestor; 3 s."""
    return replace(
        tiny_regime,
        ancestor_steps=40,
        ancestor_turns=4,
        vision_batch=4,
        target_tuning_steps=12,
        donor_tuning_steps=12,
        batch=8,
        turns=2,
    )


@pytest.fixture(scope="session")
def kin(tmp_path_factory: pytest.TempPathFactory, silent: Console, kin_regime: Regime) -> Path:
    """The demo's three models, briefly trained: target and donor fine-tuned from the ancestor."""
    return once(tmp_path_factory, "kin", lambda folder: build(folder, regime=kin_regime, console=silent))


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory, silent: Console, kin_regime: Regime) -> Path:
    """The same from another seed, so with another ancestor than `kin`."""
    return once(
        tmp_path_factory,
        "strangers",
        lambda folder: build(folder, seed=1, regime=kin_regime, console=silent),
    )
