"""Regimes of controlled pairs: stages that they have in common are trained once and change no byte."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import ROOT

from adamms.app.config.build import checked_arguments
from adamms.data.digits import SKILLS, Glyphs
from adamms.demo import batches, factory
from adamms.demo.language import WORDS
from adamms.demo.training import Regime, Trainer
from adamms.errors import AdammsError
from adamms.report.console import Console

LESSONS = ("vision", "alignment", "fine-tuning")


def weights(folder: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in sorted(folder.glob("*/model.safetensors"))}


def test_stages_in_common_are_trained_once_and_the_models_are_the_same(
    miniature: Path, tmp_path: Path, silent: Console, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = tmp_path / "stages"
    factory.build(tmp_path / "a", regime=tiny_regime, stages=stages, console=silent)
    assert weights(tmp_path / "a") == weights(miniature)
    assert len(list(stages.iterdir())) == 7  # the ancestor; three of target and donor

    trained = []
    real = Trainer.fit

    def fit(trainer: Trainer, stage: str, *rest: object) -> None:
        trained.append(stage)
        real(trainer, stage, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "fit", fit)
    other = replace(tiny_regime, donor_tuning_steps=2, second_skills=("parity",))
    factory.build(tmp_path / "b", regime=other, stages=stages, console=silent)
    assert trained == ["donor: fine-tuning", "donor: fine-tuning"]
    mine = weights(tmp_path / "b")
    assert list(mine) == ["ancestor", "donor", "second", "target"]
    assert mine["target"] == weights(miniature)["target"]
    assert len({mine["donor"], mine["second"], weights(miniature)["donor"]}) == 3


def test_another_ancestor_shares_vision_alone(tmp_path: Path, silent: Console, tiny_regime: Regime) -> None:
    for name, regime in {"a": tiny_regime, "b": replace(tiny_regime, ancestor_rate=1e-3)}.items():
        factory.build(tmp_path / name, regime=regime, stages=tmp_path / "stages", console=silent)
    assert len(list((tmp_path / "stages").iterdir())) == 7 + 5
    assert all(weights(tmp_path / "a")[name] != weights(tmp_path / "b")[name] for name in ("target", "donor"))


STAGES = ["ancestor: language", *(f"{name}: {stage}" for name in ("target", "donor") for stage in LESSONS)]


def test_an_interrupted_build_goes_on_with_the_next_stage(
    miniature: Path, tmp_path: Path, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted in the middle of every stage but the first: each one is trained to its end once."""
    done: list[str] = []
    real, folder, stages = Trainer.fit, tmp_path / "models", tmp_path / "stages"

    def one(trainer: Trainer, stage: str, *rest: object) -> None:
        if len(done) == before + 1:
            raise KeyboardInterrupt
        real(trainer, stage, *rest)  # type: ignore[arg-type]
        done.append(stage)

    monkeypatch.setattr(Trainer, "fit", one)
    for before in range(len(STAGES)):
        said = io.StringIO()
        with pytest.raises(KeyboardInterrupt) if before < len(STAGES) - 1 else nullcontext():
            factory.build(folder, regime=tiny_regime, stages=stages, console=Console(file=said, width=200))
        found = f", {before} were found in {stages}" if before else ""
        assert f"demo models: {7 - before} of 7 training stages are left{found}\n" in said.getvalue()
    assert done == STAGES
    assert weights(folder) == weights(miniature)
    assert len(list(stages.iterdir())) == len(STAGES)


KILLED = """
import os, signal, sys
from pathlib import Path
from adamms.demo import factory
from adamms.demo.language import WORDS
from adamms.demo.training import Regime, Trainer
real = Trainer.fit
def fit(trainer, stage, *rest):
    if stage == "target: alignment":
        os.kill(os.getpid(), signal.SIGKILL)
    real(trainer, stage, *rest)
Trainer.fit = fit
folder = Path(sys.argv[1])
factory.build(folder / "models", regime=Regime(**eval(sys.argv[2])), stages=folder / "stages")
"""


def test_a_killed_build_keeps_its_stages_and_a_damaged_one_is_trained_again(
    miniature: Path, tmp_path: Path, silent: Console, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), repr(vars(tiny_regime))]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    kept = sorted((tmp_path / "stages").glob("*.safetensors"))
    assert len(kept) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:1000])
    factory.build(tmp_path / "models", regime=tiny_regime, stages=tmp_path / "stages", console=silent)
    assert weights(tmp_path / "models") == weights(miniature)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["models", "stages"]


def answers(noise: float) -> Iterator[tuple[int, ...]]:
    """The labels of a few hundred lessons, as tokens."""
    skill = next(skill for skill in SKILLS if skill.name == "double")
    rng = np.random.default_rng(0)
    stream = batches.image_batches(
        rng, WORDS, Glyphs.load("train"), ("<image>",), 200, 1, [skill], slice(0, 1), False, noise
    )
    for row in next(stream).labels.tolist():
        yield tuple(token for token in row if token >= 0)


def test_noise_is_the_share_of_lessons_about_another_scene() -> None:
    """A tenth and more of the other scenes have the same answer: of 200 noisy lessons, some are right."""
    clean = list(answers(0.0))
    assert clean == list(answers(0.0))
    assert 120 <= sum(a != b for a, b in zip(clean, answers(1.0), strict=True)) < 200


def test_an_unknown_skill_is_named() -> None:
    with pytest.raises(AdammsError, match=r"regime.donor_skills\[0\] is 'duble'; expected .* double"):
        checked_arguments(Regime, {"donor_skills": ["duble"]}, "regime")
