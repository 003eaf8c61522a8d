"""The recipes in sweeps/: every job that they ask for composes into a search that can run."""

from pathlib import Path

import pytest
from configured import configured
from documented import params
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from adamms.app.checks.needs import check_recorded
from adamms.app.merges import check_merge
from adamms.app.settings import read
from adamms.engines.logs.replay import Replay
from adamms.merge.catalogue import known_methods
from adamms.search.candidates import shape_of

ROOT = Path(__file__).resolve().parents[1]
TUNED = sorted(file.stem for file in (ROOT / "conf/tune").glob("*.yaml"))
RECIPES = ("all_methods", "table1", "pairs", "optmerge")
BASELINES = ["linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "metagpt"]


def jobs(recipe: str) -> list[list[str]]:
    """The overrides of every job, by Hydra's own sweeper."""
    given = [f"{key}={values}" for key, values in params(recipe).items()]
    [batch] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(given), None)
    return batch


def composed(recipe: str, overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "sweeps"), version_base="1.3"):
        where = [f"hydra.searchpath=[file://{ROOT / 'conf'}]", "output=out", "cache=cache"]
        return compose(recipe, overrides=[*where, *overrides])


def check(config: DictConfig) -> None:
    """All that mode=search checks before it opens a model."""
    run = read(config)
    run.strategy.check(run.grid)
    check_merge(run)


@pytest.mark.parametrize("method", TUNED)
def test_a_tuned_method_has_a_grid_that_it_can_search(method: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[f"tune={method}", "output=out", "cache=cache"])
        other = compose(
            "config", overrides=[f"tune={method}", "search.grid=[0,0.5,1]", "output=out", "cache=cache"]
        )
    assert read(config).merge.method == configured(f"merge/{method}")
    check(config)
    assert min(shape_of(read(config).grid)) >= 5  # so that three at least can win along each axis
    assert len(read(other).grid) == 3


def test_all_methods_are_all() -> None:
    # Of task vectors, mergekit's options of another method have no grid of their own.
    assert {method.name for method in known_methods() if not method.name.endswith("_task")} <= set(TUNED)
    values = params("all_methods")["tune"].split(",")
    assert sorted(values) == TUNED
    assert values[: len(BASELINES)] == BASELINES
    assert len(jobs("all_methods")) == len(TUNED)


def test_pairs_are_the_papers_experiments_that_can_be_searched_here() -> None:
    found = jobs("pairs")
    experiments = list(dict.fromkeys(overrides[0] for overrides in found))
    known = {f"experiment={file.stem}" for file in (ROOT / "conf/experiment").glob("paper_*.yaml")}
    elsewhere = {"experiment=paper_cambrian_yi_vl", "experiment=paper_sharegpt4v_llava"}
    assert set(experiments) == known - elsewhere
    assert len(found) == len(experiments) * len(BASELINES)
    for number, experiment in enumerate(experiments):
        # Pairs and methods are independent groups: every pair with one method, each method with some pair.
        method = f"merge={BASELINES[number % len(BASELINES)]}"
        assert [experiment, method] in found
        check(composed("pairs", [experiment, method, "data.path=questions.jsonl"]))


def test_the_papers_main_pair_by_its_methods() -> None:
    """Its baselines take equal shares and are not searched: that is on the grid, as configured."""
    for method in BASELINES:
        overrides = ["experiment=paper_qwen2vl", f"merge={method}", "data.path=questions.jsonl"]
        config = composed("pairs", overrides)
        assert config.model.target.path == "Qwen/Qwen2-VL-7B-Instruct"
        assert [candidate.alpha for candidate in read(config).grid] == [i / 10 for i in range(7)]
        assert config.merge.alpha == (0.3 if method == "linear" else 0.5)


def test_table1_searches_logs_in_two_ways(tmp_path: Path) -> None:
    for alpha in range(7):
        (tmp_path / f"0.{alpha}").mkdir()
    assert jobs("table1") == [["search=adamms"], ["search=trusted_logs"]]
    for overrides in jobs("table1"):
        run = read(composed("table1", [*overrides, f"engine.logs={tmp_path}"]))
        assert isinstance(run.engine, Replay)
        run.strategy.check(run.engine.candidates)
        check_recorded(run.strategy.needs)
        assert (list(run.models.donors), run.samples) == (["llava_onevision"], 100)


def test_optmerges_experts_are_merged_by_every_method_of_its_paper() -> None:
    found = jobs("optmerge")
    assert len(found) == 2 * 11
    for overrides in (*found[:11], found[-1]):
        run = read(composed("optmerge", overrides))
        check_merge(run)
        assert (run.mode, len(run.models.donors), run.merge.alpha) == ("merge", 5, 1.0)
    searched = composed("optmerge", [*found[0], "mode=search", "data=file", "data.path=questions.jsonl"])
    check(searched)


def test_every_recipe_in_the_folder_is_tested() -> None:
    mine = {
        file.stem
        for file in (ROOT / "sweeps").glob("*.yaml")
        if "hydra" in OmegaConf.to_container(OmegaConf.load(file))
    }
    assert mine == set(RECIPES)
