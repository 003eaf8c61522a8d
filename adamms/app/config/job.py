"""What Hydra knows of a run beside its values: what was chosen and typed, and the multirun around it."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from adamms.app.config.messages import CONF
from adamms.errors import check_choice, program
from adamms.merge.candidate import ALPHA
from adamms.report.trackers.tracker import Job

MULTIRUN = "multirun.yaml"  # in a multirun's folder
# What a command that only merges leaves out.
ELSEWHERE = ("mode=", "output=", "candidate=", "store=", "search", "data", "engine", "evaluate")


def settle_output(config: DictConfig) -> None:
    """Fix where results go before Hydra makes a folder for them, which then it does not.

    A run that is refused before it has done anything leaves no folder; modes make their own.

    Args:
        config: of one run, with the node `hydra`. `output` becomes what it comes to: what was given, or a
            folder named by the time.
    """
    instance = HydraConfig.instance()
    before = instance.cfg
    with read_write(config), read_write(config.hydra), open_dict(config), open_dict(config.hydra):
        config.hydra.runtime.output_dir = str(Path(config.hydra.run.dir).absolute())
        config.hydra.run.dir = "."
        instance.set_config(config)
        try:
            config.output = config.output  # without the interpolation
        finally:
            instance.cfg = before


def own_folders() -> list[Path]:
    """Where YAMLs of one's own lie (-cd, hydra.searchpath); none outside of Hydra's main."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else ()
    return [Path(each.path) for each in sources if each.schema == "file" and Path(each.path) != CONF]


def own_methods() -> set[str]:
    """The classes that YAMLs of one's own in `merge` and `merge/schedule` name."""
    found = set()
    for folder in own_folders():
        for file in (folder / "merge").rglob("*.yaml"):
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            if isinstance(content, dict) and "_target_" in content:
                found.add(str(content["_target_"]))
    return found


def find_own_classes() -> None:
    """Have what lies beside YAMLs of one's own, which name it, be imported."""
    sys.path += map(str, own_folders())


@contextmanager
def own_classes() -> Iterator[None]:
    """Around a run: forget what was found so, since another folder may have a module of the same name.

    What was there before stays, and so does what lies deeper in such a folder, as in an environment in it.
    """
    places, before = sys.path[:], set(sys.modules)
    try:
        yield
    finally:
        own = [Path(place) for place in sys.path if place not in places]
        sys.path[:] = places
        for name in sys.modules.keys() - before:
            file, package = getattr(sys.modules[name], "__file__", None), name.partition(".")[0]
            if file and any(_is_below(Path(file), place, package) for place in own):
                del sys.modules[name]


def _is_below(file: Path, place: Path, package: str) -> bool:
    """Whether it is the module or package of that name in `place`, or in that package."""
    return file.is_relative_to(place) and file.relative_to(place).parts[0].partition(".")[0] == package


def this_job() -> Job:
    """The run as it was asked for on the command line; empty outside of Hydra's main."""
    if not HydraConfig.initialized():
        return Job()
    hydra = HydraConfig.get()
    choices = {str(group): str(name) for group, name in hydra.runtime.choices.items() if name is not None}
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # as they were typed
    if OmegaConf.is_missing(hydra.job, "num"):
        return Job(choices, tuple(overrides))
    sweep = str(hydra.sweep.dir)
    return Job(choices, tuple(overrides), sweep, _varying(Path(sweep) / MULTIRUN))


def _varying(file: Path) -> tuple[str, ...]:
    """The keys that have several values in a multirun, by what Hydra writes before its first job."""
    try:
        found = yaml.load(file.read_bytes(), yaml.CSafeLoader)["hydra"]
    except (OSError, LookupError, TypeError, yaml.YAMLError):
        return ()
    params = (found.get("sweeper") or {}).get("params") or {}
    typed = [*(f"{key}={value}" for key, value in params.items()), *found["overrides"]["task"]]
    parsed = OverridesParser.create().parse_overrides(typed)
    return tuple(each.key_or_group for each in parsed if each.is_sweep_override())


def merge_command(job: Job, keys: Sequence[str] = (ALPHA,)) -> str:
    """The command that merges as this run does, to which the values of `keys` are to be appended."""
    replaced = tuple(f"{key}=" for key in keys)
    kept = [
        shlex.quote(item)
        for item in job.overrides
        if not (item.startswith(replaced) or item.lstrip("+~").startswith(ELSEWHERE))
    ]
    return " ".join([f"{program()} mode=merge", *kept])


def check_experiment() -> None:
    """Raise AdammsError for an experiment that does not exist; Hydra lets it pass."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return
    for item in HydraConfig.get().overrides.task:
        key, _, value = item.lstrip("+").partition("=")
        if key == "experiment" and value not in ("null", ""):
            options = GlobalHydra.instance().config_loader().get_group_options("experiment")
            for name in value.strip("[]").split(","):
                check_choice("experiment", name.strip().strip("'\""), options)
