"""Every YAML in conf/ composes, every `_target_` exists and takes the values it is given."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

from adamms.app.settings import read
from adamms.architectures.spec import known_architectures

pytestmark = pytest.mark.long

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = {
    str(folder.relative_to(CONF)): sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in CONF.rglob("*")
    if folder.is_dir() and any(folder.glob("*.yaml"))
}
# Groups whose options are composed and read one by one by test_settings, those of tune by test_sweeps.
ELSEWHERE = re.compile("(data|engine|evaluate|mapper|merge(?!/)|mode|search|track|tune)(/|$)")


def compose_options(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*overrides, "output=out", "cache=cache"])


def combinations() -> Iterator[list[str]]:
    """Overrides in which every option occurs that neither other files nor experiments compose."""
    yield [f"+checkpoint@published.{name}={name}" for name in GROUPS["checkpoint"]]
    experiments = [yaml.safe_load(file.read_text()) or {} for file in (CONF / "experiment").glob("*.yaml")]
    chosen = [
        default["override /model"]
        for experiment in experiments
        for default in experiment.get("defaults", [])
        if "override /model" in default
    ]
    yield from ([f"model={name}"] for name in GROUPS["model"] if name not in chosen)
    places = {"hydra/usage": "hydra/usage@hydra.help"}
    alone = ("checkpoint", "experiment", "model")
    together = {g: names for g, names in GROUPS.items() if g not in alone and not ELSEWHERE.match(g)}
    for number in range(max(map(len, together.values()))):
        yield [
            f"{places.get(group, group)}={names[number % len(names)]}" for group, names in together.items()
        ]


@pytest.fixture(scope="module")
def experiments() -> dict[str, DictConfig]:
    return {name: compose_options(f"experiment={name}") for name in GROUPS["experiment"]}


def test_every_option_composes_and_is_read(experiments: dict[str, DictConfig]) -> None:
    """Whatever it describes is built."""
    for config in experiments.values():
        read(config)
    for overrides in combinations():
        config = compose_options(*overrides)
        with open_dict(config):
            config.pop("published", None)
        read(config)


def test_a_published_checkpoint_is_a_hub_id_and_an_architecture_that_it_names_is_known() -> None:
    for file in (CONF / "checkpoint").glob("*.yaml"):
        content = yaml.safe_load(file.read_text())
        assert content["path"].count("/") == 1
        assert content.get("architecture") in (None, *known_architectures())


def test_the_papers_benchmarks_are_asked_as_lmms_eval_asks_them(tmp_path: Path) -> None:
    """Its default templates, as in its logs' `arguments`."""
    file = tmp_path / "all.jsonl"
    lines = [
        {"task": "mme", "question": "Is it red?"},
        {"task": "vizwiz", "question": "What is it?"},
        {"task": "ocrbench", "question": "what is written in the image?"},
        {"task": "mmmu", "question": "Which?", "options": ["a", "b"]},
        {"task": "mmmu", "question": "How many?"},
        {"task": "seedbench", "question": "Which?", "options": ["a", "b", "c", "d"]},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = compose_options("data=benchmarks")
    assert set(config.data.prompts) | set(config.data.choice_prompts) == {
        *("mmmu", "mme", "seedbench", "ocrbench", "textvqa", "okvqa", "gqa", "vizwiz")
    }
    short = "Answer the question using a single word or phrase."
    letter = "Answer with the option's letter from the given choices directly."
    examples = hydra.utils.instantiate(config.data, path=str(file)).load().examples
    assert [example.question for example in examples] == [
        f"Is it red?\n{short}",
        f"What is it?\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n{short}",
        "what is written in the image?",
        f"Which?\nA. a\nB. b\n\n{letter}",
        f"How many?\n\n{short}",
        f"Which?\nA. a\nB. b\nC. c\nD. d\n{letter}",
    ]


def test_experiments_say_what_they_are_made_of(experiments: dict[str, DictConfig]) -> None:
    """Reasoners have room to think; donors, layers and engines are those of each file."""
    reasoners = {name: c for name, c in experiments.items() if name.startswith("reason")}
    assert len(reasoners) > 5
    for config in reasoners.values():
        assert config.engine.max_new_tokens == 4096
    late = {
        name: tuple(c.mapper.layers)
        for name, c in experiments.items()
        if name.startswith("late_") and c.mapper.layers
    }
    assert late == {"late_llava": (20, 31), "late_qwen2_5_vl": (18, 27)}
    assert experiments["reason_qwen3_vl_4b"].model.donors.qwen3.path == "Qwen/Qwen3-4B-Thinking-2507"
    assert experiments["code_qwen3_vl_30b"].engine.tensor_parallel_size == 2


def test_the_demo_is_the_default_and_its_grid_is_its_own() -> None:
    demo, custom = compose_options(), compose_options("model=custom")
    assert demo.mode.name == "search"
    assert list(demo.search.grid) == [i / 10 for i in range(11)]
    assert list(custom.search.grid) == [i / 10 for i in range(7)]  # the paper's
    assert not custom.evaluate.control


def test_hydras_own_mode_is_in_no_option() -> None:
    """`adamms` does not look it up (adamms/app/command.py)."""
    for file in CONF.rglob("*.yaml"):
        assert "mode" not in ((yaml.safe_load(file.read_text()) or {}).get("hydra") or {}), file
