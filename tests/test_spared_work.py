"""A configuration that the tests keep is the one that Hydra composes anew."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import CONF, Outcome
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl as loader
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf
from spared_work import Composed

# The same options with other values, other options, a group deleted, one added, Hydra's own, an experiment.
LINES = (
    ("mode=merge", "merge=ties", "merge.density=0.5"),
    ("mode=merge", "merge=ties", "merge.density=0.3", "+model.target.more=A"),
    ("mode=merge", "merge=linear"),
    ("mode=merge", "merge=linear", "~evaluate"),
    ("mode=merge", "merge=linear", "+track@second=wandb"),
    ("mode=merge", "merge=linear", "hydra/launcher=slurm"),
    ("experiment=late_llava",),
)


def test_what_is_kept_is_what_is_composed_anew(
    spared_work: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def texts() -> list[str]:
        found = [compose("config", list(line), return_hydra_config=True) for line in LINES]
        return [OmegaConf.to_yaml(config) for config in found]

    with initialize_config_dir(str(CONF), version_base="1.3"):
        texts()
        kept, lists, configs = texts(), len(spared_work.lists), len(spared_work.configs)
        assert kept == texts()
        assert (len(spared_work.lists), len(spared_work.configs)) == (lists, configs)  # all is kept
        monkeypatch.setattr(loader, "create_defaults_list", spared_work.list_of)
        monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", spared_work.config_of)
        assert kept == texts()
    assert len({*kept}) == len(LINES)


def test_the_time_is_that_of_each_multirun(run: Callable[..., Outcome], kin: Path) -> None:
    models = [f"model.target.path={kin / 'target'}", f"model.donors.a.path={kin / 'donor'}"]
    for _ in range(2):
        done = run("-m", "mode=plan", "model=custom", *models)
        assert done.status == 0, done.err
        time.sleep(1)  # the folder has the second in its name
    assert len([*Path("multirun").glob("*/*")]) == 2
