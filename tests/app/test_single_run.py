"""A single run composes its configuration once; several runs, and Hydra's flags, are Hydra's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from command import CONF, Outcome, pair
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from adamms.app.single_run import start_single


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is composed from here on."""
    found, load = [], ConfigLoaderImpl.load_configuration

    def noted(loader: ConfigLoaderImpl, config_name: str, *rest: object, **more: object) -> DictConfig:
        found.append(config_name)
        return load(loader, config_name, *rest, **more)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", noted)
    return found


def test_the_command_composes_once(run: Callable[..., Outcome], composed: list[str], kin: Path) -> None:
    done = run("mode=plan", *pair(kin))
    assert done.status == 0, done.err
    assert composed == ["config"]


def test_hydra_is_configured_as_by_its_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    def task(config: DictConfig) -> None:
        seen.append((OmegaConf.to_container(HydraConfig.instance().cfg), OmegaConf.to_container(config)))

    typed = ["mode=plan", "hydra.run.dir=here"]
    monkeypatch.setattr("sys.argv", ["test_single_run.py", *typed])
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    assert start_single(task, CONF, "config", "1.3", typed)
    seen[0][0]["hydra"]["overrides"]["hydra"].remove("hydra.mode=RUN")  # which its main adds
    assert seen[0] == seen[1]


def test_the_task_sees_what_hydras_main_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[object] = []

    def task(config: DictConfig) -> None:
        own = HydraConfig.get()
        seen.extend([config.mode.name, config.output, own.mode.name, own.job.name, "hydra" in config])
        seen.append(list(own.overrides.task))

    assert start_single(task, CONF, "config", "1.3", ["mode=plan", "hydra.run.dir=here"])
    output = str(tmp_path / "here")
    assert seen == ["plan", output, "RUN", "test_single_run", False, ["mode=plan"]]
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()


def test_what_a_task_raises_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def task(config: DictConfig) -> None:
        raise ValueError("of the task")

    with pytest.raises(ValueError, match="of the task"):
        start_single(task, CONF, "config", "1.3", [])


@pytest.mark.parametrize(
    "typed",
    [
        ["--help"],
        ["mode=plan", "-m"],
        ["hydra.mode=MULTIRUN"],
        ["merge.alpha=0.1,0.2"],
        ["hydra.mode=MULTIRUN", "merge.alpha=0.1,0.2"],
        ["no_such_key=1"],
        ["merge=no_such_method"],
        ["+hydra.callbacks.mine._target_=hydra.experimental.callback.Callback"],
        ["hydra.callbacks.record._target_=hydra.experimental.callback.Callback"],
        ["+hydra.callbacks.record.more=1"],
        ["hydra.callbacks=null"],
    ],
)
def test_all_else_is_hydras(typed: list[str]) -> None:
    def task(config: DictConfig) -> None:
        raise AssertionError("is not run here")

    assert not start_single(task, CONF, "config", "1.3", typed)
    assert not GlobalHydra.instance().is_initialized()
