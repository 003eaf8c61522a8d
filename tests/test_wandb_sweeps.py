"""W&B's sweeps in sweeps/: what wandb's agent would run composes, value by value; its metrics are logged."""

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb_files
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from adamms.app.settings import read
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.mapping.plan import Plan
from adamms.merge.candidate import Candidate
from adamms.report.result import Result
from adamms.report.trackers import metrics
from adamms.search.choice import Choice, Selection

# As wandb-workspaces is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")
ROOT = Path(__file__).resolve().parents[1]
# Those that name a program; the others are multiruns of Hydra's.
SWEEPS = sorted(
    file for file in (ROOT / "sweeps").glob("*.yaml") if "program" in yaml.safe_load(file.read_text())
)
PROPERTIES = {"program", "method", "metric", "parameters", "command", "run_cap", "description", "name"}


def content(sweep: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(sweep.read_text())
    return found


def values(parameter: dict[str, Any]) -> list[Any]:
    """All values, or those at the ends and in the middle of a distribution."""
    if "value" in parameter:
        return [parameter["value"]]
    if "values" in parameter:
        return list(parameter["values"])
    assert parameter["distribution"] == "uniform", parameter
    low, high = parameter["min"], parameter["max"]
    return [low, high, low + (high - low) * 0.123456789012345, min(low + 1e-5, high)]


def settings(sweep: Path) -> Iterator[dict[str, Any]]:
    """Every value of every parameter once, the others at their first."""
    parameters = {name: values(parameter) for name, parameter in content(sweep)["parameters"].items()}
    first = {name: found[0] for name, found in parameters.items()}
    yield first
    for name, found in parameters.items():
        for value in found[1:]:
            yield first | {name: value}


def command(sweep: Path, chosen: dict[str, Any]) -> list[str]:
    """What wandb's agent runs, put together by its own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    own = create_sweep_command(content(sweep)["command"])
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [content(sweep)["program"]]}
    parts: list[str] = []
    for part in own:
        macro = part.startswith("${") and part.endswith("}")
        parts += macros[part[2:-1]] if macro else [part]
    return parts


def composed(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", [*overrides, "output=out", "cache=cache"], return_hydra_config=True)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_every_value_composes_to_what_it_says(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    count = 0
    for chosen in settings(sweep):
        parts = command(sweep, chosen)
        assert parts[:3] == ["/usr/bin/env", "python", "run.py"]
        config = composed(parts[3:])
        options = config.hydra.runtime.choices
        for name, value in chosen.items():
            found = options[name] if name in options else OmegaConf.select(config, name)
            found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
            assert found == value, name
        assert options["track"] == "wandb"
        assert config.hydra.run.dir == "outputs/sweeps/s1/r1"
        with open_dict(config):
            del config["hydra"]
        run = read(config)
        if run.mode == "search":
            run.strategy.check(run.grid)
        count += 1
    assert count == 1 + sum(len(values(each)) - 1 for each in content(sweep)["parameters"].values())


def tracked() -> set[str]:
    """The names that a run of a search with labels has in W&B."""
    candidate = Candidate(0.5)
    choice = Choice(candidate, {candidate: 1.0}, (candidate,), 1.0, {candidate: 1.0}, 1)
    scores = {Candidate(alpha): Scores({"read": 1.0}) for alpha in (0.0, 0.5)}
    selection, evaluation = Selection({"read": choice}, choice), Evaluation(scores, {}, {})
    result = Result("", plan=Plan("", {}, ()), selection=selection, evaluation=evaluation)
    return {*metrics.overall(result), *metrics.details(result)}


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_it_is_a_sweep_and_its_metric_is_one_that_runs_have(sweep: Path) -> None:
    found = content(sweep)
    assert set(found) <= PROPERTIES
    assert (ROOT / found["program"]).is_file()
    assert found["method"] in ("grid", "random", "bayes")
    if "metric" in found:
        assert found["metric"]["name"] in tracked()
        assert found["metric"]["goal"] in ("minimize", "maximize")
    else:
        assert found["method"] == "grid"
    for name, parameter in found["parameters"].items():
        assert set(parameter) in ({"value"}, {"values"}, {"distribution", "min", "max"}), name
        assert found["method"] != "grid" or "distribution" not in parameter, name


def test_there_is_a_sweep_of_each_kind() -> None:
    assert {content(sweep)["method"] for sweep in SWEEPS} == {"grid", "bayes"}


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    wandb_files.separate(monkeypatch, tmp_path)
    monkeypatch.syspath_prepend(ROOT / "sweeps")
    return importlib.import_module("workspace")


def test_the_workspace_that_is_sent_has_the_group_and_what_runs_have(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the server: what the package would send is caught, and read back by the package."""
    import wandb
    from wandb_workspaces.workspaces import Workspace, interface, internal

    sent: list[Any] = []
    answer = {"upsertView": {"view": {"name": "nw-1", "id": "1"}}}
    monkeypatch.setattr(internal, "upsert_view2", lambda view: sent.append(view) or answer)
    monkeypatch.setattr(wandb, "Api", SimpleNamespace)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "https://wandb.ai")
    group = 'multirun/it\'s a "group"'
    address = workspace.workspace("me", "adamms", group).save().url
    assert "/me/adamms" in address
    view = internal.View.model_validate_json(sent[0].model_dump_json(by_alias=True))
    (run_set,) = view.spec.section.run_sets
    (found,) = run_set.filters["filters"]
    assert (found["key"]["name"], found["op"], found["value"]) == ("group", "=", group)
    back = Workspace._from_model(view)
    known = tracked() | {"all_probability", "all_score_error"}
    pinned = {name.removeprefix("summary:") for name in back.runset_settings.pinned_columns}
    assert pinned - {"run:displayName"} <= known
    panels = {
        panel.title: panel for section in back.sections for panel in section.panels if hasattr(panel, "title")
    }
    assert {panels["Mean score"].metrics[0].name, panels["Regret"].metrics[0].name} <= known
    both = back.sections[0].panels[0]
    assert both.chart_name == f"me/{workspace.CHART}"
    assert both.query["summaryTable"] == {"tableKey": workspace.TABLE}


def test_its_chart_has_a_row_for_every_quantity_and_the_columns_of_the_table(
    workspace: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    made: list[dict[str, Any]] = []
    api = SimpleNamespace(create_custom_chart=lambda **arguments: made.append(arguments))
    monkeypatch.setattr(wandb, "Api", lambda: api)
    workspace.save_chart("me")
    (chart,) = made
    inspect.signature(wandb.apis.public.Api.create_custom_chart).bind(None, **chart)
    spec = chart["spec"]
    assert spec["facet"]["row"]["field"] == "${field:what}"
    assert spec["resolve"]["scale"]["y"] == "independent"
    names = set(re.findall(r"\$\{field:(\w+)\}", json.dumps(spec)))
    assert names == set(workspace.FIELDS)
    columns = ["alpha", "what", "value", "error", "percent"]  # tests/report/test_wandb.py
    assert set(workspace.FIELDS.values()) <= set(columns)

    def there_already(**arguments: Any) -> None:
        raise wandb.Error("it exists")

    api.create_custom_chart = there_already
    workspace.save_chart("me")
    assert "it exists" in capsys.readouterr().out
