"""The run's own settings in words: for the report, for trackers, and as a command line that merges.

Like `compose`, above the layers.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from adamms.merge.candidate import ALPHA
from adamms.report.trackers.tracker import Job


def settings_in_words(node: DictConfig, without: Sequence[str] = ()) -> str:
    """The plain settings of a config group but those `without`, for people: 'rule=sum, seed=0'."""
    plain = {
        str(key): value
        for key, value in node.items()
        if not (isinstance(value, DictConfig) and "_target_" in value) and key not in without
    }
    return ", ".join(f"{key}={'null' if value is None else value}" for key, value in plain.items())


def merge_command(keys: Sequence[str] = (ALPHA,)) -> str:
    """The command line that merges as this run does, to which values of `keys` are to be appended."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else OmegaConf.create([])
    overrides: Any = OmegaConf.to_container(given, resolve=False)  # as they were written
    own = ("mode=", "output=", "candidate=", "store=", "search", "data", "engine", "evaluate")
    replaced = tuple(f"{key}=" for key in keys)
    kept = [
        shlex.quote(item)
        for item in overrides
        if not (item.startswith(replaced) or item.lstrip("+~").startswith(own))
    ]
    return " ".join(["python run.py mode=merge", *kept])


def this_job() -> Job:
    """What was chosen and typed for this run, and the multirun that it is part of."""
    if not HydraConfig.initialized():
        return Job()
    hydra = HydraConfig.get()
    choices = {
        str(group): str(option) for group, option in hydra.runtime.choices.items() if option is not None
    }
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    alone = OmegaConf.is_missing(hydra.job, "num")
    return Job(choices, tuple(overrides), None if alone else str(hydra.sweep.dir))
