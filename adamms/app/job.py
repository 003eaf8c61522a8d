"""What Hydra knows of a run beside its values: what was chosen and typed, and the multirun around it."""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from adamms.errors import check_choice
from adamms.merge.candidate import ALPHA
from adamms.report.trackers.tracker import Job

# What a command that only merges leaves out.
ELSEWHERE = ("mode=", "output=", "candidate=", "store=", "search", "data", "engine", "evaluate")


def this_job() -> Job:
    """The run as it was asked for on the command line; empty outside of Hydra's main."""
    if not HydraConfig.initialized():
        return Job()
    hydra = HydraConfig.get()
    choices = {str(group): str(name) for group, name in hydra.runtime.choices.items() if name is not None}
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # as they were typed
    alone = OmegaConf.is_missing(hydra.job, "num")
    return Job(choices, tuple(overrides), None if alone else str(hydra.sweep.dir))


def merge_command(job: Job, keys: Sequence[str] = (ALPHA,)) -> str:
    """The command that merges as this run does, to which the values of `keys` are to be appended."""
    replaced = tuple(f"{key}=" for key in keys)
    kept = [
        shlex.quote(item)
        for item in job.overrides
        if not (item.startswith(replaced) or item.lstrip("+~").startswith(ELSEWHERE))
    ]
    return " ".join(["python run.py mode=merge", *kept])


def check_experiment() -> None:
    """Raise AdammsError for an experiment that does not exist; Hydra lets it pass."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return
    options = GlobalHydra.instance().config_loader().get_group_options("experiment")
    for item in HydraConfig.get().overrides.task:
        key, _, value = item.lstrip("+").partition("=")
        if key == "experiment" and value not in ("null", ""):
            for name in value.strip("[]").split(","):
                check_choice("experiment", name.strip().strip("'\""), options)
