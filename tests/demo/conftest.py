"""Demo checkpoints after one or two steps of training: real files, untrained minds."""

from pathlib import Path

import pytest
from rich.console import Console

from adamms.demo.factory import build
from adamms.demo.training import Regime


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
    return Console(quiet=True)


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory, silent: Console, tiny_regime: Regime) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "models"
    build(folder, regime=tiny_regime, console=silent)
    return folder
