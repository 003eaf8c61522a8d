"""Fixtures: folders with the demo's models, trained for a step or two."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adamms.demo.factory import build
from adamms.demo.training import Regime
from adamms.report.console import Console


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
    folder = tmp_path_factory.mktemp("demo") / "models"
    build(folder, regime=tiny_regime, console=silent)
    return folder


@pytest.fixture(scope="session")
def talkative(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`miniature` with its own noise on every matrix of the language models, so that answers differ."""
    folder = shutil.copytree(miniature, tmp_path_factory.mktemp("talkative") / "models")
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
    return folder


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
    folder = tmp_path_factory.mktemp("kin") / "models"
    build(folder, regime=kin_regime, console=silent)
    return folder


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory, silent: Console, kin_regime: Regime) -> Path:
    """The same from another seed, so with another ancestor than `kin`."""
    folder = tmp_path_factory.mktemp("strangers") / "models"
    build(folder, seed=1, regime=kin_regime, console=silent)
    return folder
