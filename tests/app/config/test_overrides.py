"""What was typed: overrides that a mode does not look at, the demo's settings, and data that nobody named."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, composed, pair
from omegaconf import OmegaConf

from adamms.app.config.overrides import IGNORED_WITH_LOGS, data_is_named, overlooked, with_demo_settings
from adamms.app.settings import read
from adamms.report.trackers.tracker import Job

Run = Callable[..., Outcome]


def notes(mode: str, *typed: str) -> list[str]:
    """For a command line of these overrides, without Hydra's main."""
    config = composed(f"mode={mode}", *typed)
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    ignores = values["mode"].get("ignores", ())
    return [note.split(" at ", 1)[1] for note in overlooked(Job({}, typed), mode, ignores, values)]


@pytest.mark.parametrize(
    ("mode", "typed", "told"),
    [
        ("merge", "evaluate=accuracy", True),
        ("merge", "evaluate=lmms_eval", False),
        ("merge", "evaluate=[lmms_eval,accuracy]", True),
        ("merge", "evaluate=none", False),
        ("merge", "evaluate.control=true", True),
        ("merge", "engine=vllm", True),
        ("merge", "search.samples=3", True),
        ("merge", "search/difference=embedding", True),
        ("merge", "merge=ties", False),
        ("merge", "max_shard_gb=1", False),
        ("plan", "merge=ties", False),
        ("plan", "merge.alpha=0.1", True),
        ("plan", "data=jsonl", True),
        ("plan", "track=wandb", False),
        ("plan", "plan.verify=true", False),
        ("respond", "evaluate=lmms_eval", True),
        ("respond", "evaluate=accuracy", False),
        ("respond", "merge.alpha=0.1", True),
        ("evaluate", "merge=ties", True),
        ("evaluate", "model=custom", False),
        ("evaluate", "model.target.path=x", True),
        ("evaluate", "+model.target.tokenizer=x", False),
        ("search", "model_folder=x", True),
        ("search", "+candidate=0.1", True),
        ("search", "search.grid=[0,1]", False),
        ("compare", "merge=ties", True),
        ("doctor", "merge=ties", False),
    ],
)
def test_what_a_mode_does_not_look_at_is_told(mode: str, typed: str, told: bool) -> None:
    assert notes(mode, typed) == ([typed] if told else [])


def test_a_search_in_logs_needs_no_model_but_takes_the_choice_of_one() -> None:
    typed, values = ("model=custom", "model.target.path=x"), {"model": {"target": {}}}
    (note,) = overlooked(Job({}, typed), "search", IGNORED_WITH_LOGS, values)
    assert note.endswith(" at model.target.path=x")


def test_the_demos_settings_are_told_of_who_brings_models_or_data() -> None:
    choices, engine = {"model": "demo", "experiment": "demo"}, {"max_new_tokens": 4}
    for typed in ("model.target.path=x", "model_folder=x", "data=jsonl"):
        (note,) = with_demo_settings(Job(choices, (typed, "store=null")), engine)
        assert note.startswith(
            f"{typed} gets the settings of model=demo, the default: engine.max_new_tokens=4 "
        )
    for silent in ("data=digits", "search.samples=3", "data.per_task=2"):
        assert not [*with_demo_settings(Job(choices, (silent,)), engine)]
    assert not [*with_demo_settings(Job(choices, ("model=demo", "data=jsonl")), engine)]
    assert not [*with_demo_settings(Job({"model": "custom"}, ("model_folder=x",)), engine)]


def test_data_are_named_on_the_command_line_or_by_an_experiment() -> None:
    assert not data_is_named(Job({"data": "digits"}, ("model=custom",)))
    assert data_is_named(Job({"data": "digits"}, ("data=digits",)))
    assert data_is_named(Job({"data": "digits"}, ("data.per_task=2",)))
    assert data_is_named(Job({"data": "benchmarks"}, ("experiment=paper_qwen2vl",)))


def test_what_a_mode_ignores_is_no_setting_of_the_run() -> None:
    assert "ignores" not in read(composed("mode=merge")).config["mode"]


@pytest.mark.parametrize("mode", [["mode=search"], ["mode=respond", "candidate=0.1"], ["mode=evaluate"]])
def test_models_of_ones_own_have_no_default_data(
    mode: list[str], run: Run, talkative: Path, tmp_path: Path
) -> None:
    done = run(*mode, *pair(talkative), f"model_folder={talkative / 'target'}", f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "error: data has no value; these models have no default data: data=file data.path=FILE" in done.err


def test_a_merge_needs_no_data_and_tells_what_it_does_not_do(
    run: Run, talkative: Path, tmp_path: Path
) -> None:
    done = run("mode=merge", *pair(talkative), "evaluate=accuracy", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert "warning: mode=merge does not look at evaluate=accuracy\n" in done.out
    assert done.out.count("does not look at") == 1
