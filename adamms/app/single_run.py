"""A single run, started as Hydra's main starts one, with a configuration that is composed once.

Hydra's main composes it twice, the first time only to see whether there will be several runs. Those, and all
that Hydra's own flags ask for, are left to it.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode, TaskFunction

from adamms.app.multirun import JobRecord

# What conf/config.yaml says of them: `start_single` calls no others.
CALLBACKS = {"record": {"_target_": f"{JobRecord.__module__}.{JobRecord.__name__}"}}


def start_single(task: TaskFunction, folder: Path, name: str, version: str, typed: Sequence[str]) -> bool:
    """Run `task` with the configuration `name` of `folder`, if it is to run once.

    Args:
        task: is given the configuration.
        version: of Hydra whose defaults hold.
        typed: the command line, without the program.

    Returns:
        Whether it was run: False where Hydra's main must see to it, or knows what is wrong.
    """
    if any(item.startswith("-") for item in typed):
        return False
    with initialize_config_dir(str(folder), task.__module__.rpartition(".")[2], version):
        loader = GlobalHydra.instance().config_loader()
        try:
            config = loader.load_configuration(name, list(typed), RunMode.RUN)
        except HydraException:
            return False
        hydra, record = config.hydra, JobRecord()
        if hydra.mode not in (None, RunMode.RUN) or hydra.callbacks != CALLBACKS:
            return False
        hydra.mode = RunMode.RUN
        record.on_run_start(config)
        # It is all of the callbacks, and has what `run_job` calls.
        context = HydraContext(loader, record)  # type: ignore[arg-type]
        ended = run_job(task, config, "hydra.run.dir", None, context)
        _ = ended.return_value  # raises what the task has raised
    return True
