"""What a run is about, for trackers and reports: the configured models, or one that it is given in a folder.

mode=evaluate and mode=push are given one. What it is, its own recipe says.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from adamms.app.settings import Run
from adamms.checkpoint.hub.location import locate
from adamms.checkpoint.side_files import RECORD
from adamms.errors import AdammsError
from adamms.report.result import Hyperparameters
from adamms.report.trackers.tracker import Job

# Groups and keys that say nothing of a model that is there already.
ELSEWHERE = ("model", "mapper", "merge", "search", "tune", "plan", "experiment", "candidate", "max_shard_gb")


@dataclass(frozen=True)
class GivenModel:
    """The model in a folder.

    Args:
        place: the folder or hub id, as it was given.
        record: adamms_recipe.json of a merged model; empty of any other.
    """

    place: str
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """'a + b into t' of a merged model; of any other its hub id, or the last part of its path."""
        if self.record:
            return f"{' + '.join(map(_last, self.donors.values()))} into {_last(self.target)}"
        folder = Path(self.place).expanduser()
        if not folder.exists():
            return self.place
        parts = folder.resolve().parts
        return "/".join(parts[-2:]) if parts[-1] == "model" else parts[-1]

    @property
    def target(self) -> str:
        return str(self.record.get("target", ""))

    @property
    def donors(self) -> dict[str, str]:
        """Donor name -> what it is."""
        return dict(self.record.get("donors", {}))

    @property
    def hyperparameters(self) -> Hyperparameters | None:
        """What it was merged with; None of a model that is no merge."""
        return Hyperparameters.of_recipe(self.record) if self.record else None

    @property
    def merge(self) -> dict[str, Any]:
        """As `merge` of the configuration: the method's numbers and alpha, of several donors each one's."""
        found = self.hyperparameters
        if found is None:
            return {}
        shares = dict(found.shares)
        alpha = next(iter(shares.values())) if len(shares) == 1 else shares
        schedule = {"schedule": found.schedule} if found.schedule else {}
        return {"method": found.method, "alpha": alpha, **schedule, **found.parameters}


def given_model(place: str) -> GivenModel:
    """What is in a folder, or in a hub's repository.

    Raises:
        AdammsError: no such folder, or a recipe that cannot be read.
    """
    file = locate(place, weights=False) / RECORD
    if not file.is_file():
        return GivenModel(place, {})
    try:
        model = GivenModel(place, json.loads(file.read_text(encoding="utf-8")))
        _ = model.name, model.merge
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AdammsError(
            f"{file}: not a recipe as adamms writes it ({type(error).__name__}: {error})"
        ) from error
    return model


def subject(run: Run) -> tuple[Mapping[str, Any], Job]:
    """The settings and the job under which a run is recorded: of the model that it is given, if any."""
    place = run.model_folder if run.mode == "evaluate" else run.config["mode"].get("folder")
    if run.mode not in ("evaluate", "push", "compare") or place in (None, MISSING):
        return run.config, run.job
    settings = {key: value for key, value in run.config.items() if key not in ELSEWHERE}
    choices = {key: name for key, name in run.job.choices.items() if _group(key) not in ELSEWHERE}
    overrides = [item for item in run.job.overrides if _group(item) not in ELSEWHERE]
    job = replace(run.job, choices=choices, overrides=tuple(overrides), pair="")
    if run.mode == "compare":
        return settings, job
    model = given_model(str(place))
    settings["given"] = {"place": model.place, **{k: v for k, v in model.record.items() if k != "coverage"}}
    if model.record:
        settings["merge"] = model.merge
        choices["merge"] = model.merge["method"]
        overrides.insert(0, f"merge.alpha={model.merge['alpha']}".replace("'", ""))
    return settings, replace(job, choices=choices, overrides=tuple(overrides), pair=model.name)


def _group(item: str) -> str:
    """search, of search/signal and of the override +search.grid=[0]."""
    return re.split(r"[/.=@]", item.lstrip("+~"), maxsplit=1)[0]


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
