"""The schema of the configuration: every key of every group, misspelt and with values of a wrong type."""

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from test_conf import CONF, OPTIONS

from adamms.app.messages import explain
from adamms.app.settings import check_settings
from adamms.errors import AdammsError

# Groups whose options are keys at the top level, or of Hydra's own; and models, which have the same keys.
ELSEWHERE = ("checkpoint/", "experiment/", "tune/", "hydra/", "model/")
CHOSEN = [option for option in OPTIONS if not option.startswith(ELSEWHERE)] + ["model/custom", "model/demo"]
# Mappings whose keys are names that the user gives.
NAMES = ("model.donors", "data.prompts", "data.choice_prompts", "engine.only")
# Values that may be anything, or any mapping, as far as the door can tell.
ANY = ("search.grid", "engine.logs", "evaluate.lmms_eval.model_args", "evaluate.lmms_eval.gen_kwargs")
ANY += ("evaluate.lmms_eval.environment",)


def composed(option: str) -> DictConfig:
    group, _, name = option.rpartition("/")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[f"{group}={name}", "output=out", "cache=cache"])


def leaves(node: DictConfig, where: str = "") -> Iterator[str]:
    """The full keys below a node that a user may set, mappings among them."""
    for name in node:
        if not str(name).startswith("_"):
            yield f"{where}{name}"
            inner = node._get_node(name)
            if f"{where}{name}" in (*NAMES[1:], "merge.method", "search.selector"):
                continue  # given names, or repeated from the keys beside it
            if isinstance(inner, DictConfig) and not inner._is_none() and not inner._is_interpolation():
                yield from leaves(inner, f"{where}{name}.")


def keys_of_option(config: DictConfig, option: str) -> list[str]:
    where = option.rpartition("/")[0].replace("/", ".")
    return list(leaves(OmegaConf.select(config, where), f"{where}."))


def misspelt(key: str) -> str:
    """With one letter less, in the middle; of a very short one with one more."""
    half = len(key) // 2
    return key[:half] + key[half + 1 :] if len(key) > 3 else key + key[-1]


def check_misspelling(config: DictConfig, key: str) -> None:
    place, _, last = key.rpartition(".")
    wrong = misspelt(last)
    full = f"{place}.{wrong}" if place else wrong
    with pytest.raises(OmegaConfBaseException) as typed:  # as Hydra does with key=value
        OmegaConf.update(config, full, 1)
    assert last in str(explain(typed.value)).partition("Nearest: ")[2], key
    if place == NAMES[0]:
        return
    parent = OmegaConf.select(config, place) if place else config
    with open_dict(parent):  # as Hydra does with +key=value
        parent[wrong] = 1
    with pytest.raises(AdammsError, match=rf"^unknown key {full}; ") as added:
        check_settings(config)
    assert last in str(added.value).partition("Nearest: ")[2], key
    with open_dict(parent):
        del parent[wrong]


def check_wrong_values(config: DictConfig, key: str) -> None:
    place, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, place) if place else config
    before = parent._get_node(last)
    plain = None if OmegaConf.is_missing(parent, last) else parent[last]
    wrong: list[object] = [{"wrong": [1]}]
    if isinstance(plain, bool | int | float):
        wrong += ["wrong", float("nan")]
    for value in wrong:
        with open_dict(parent):
            parent[last] = value
        with pytest.raises(AdammsError) as refused:
            check_settings(config)
        assert key in str(refused.value), (key, value)
        parent._set_item_impl(last, before)


@pytest.mark.parametrize("option", CHOSEN)
def test_every_key_misspelt_and_every_value_of_a_wrong_type_are_answered(option: str) -> None:
    config = composed(option)
    check_settings(config)
    for key in keys_of_option(config, option):
        check_misspelling(config, key)
        if not isinstance(OmegaConf.select(config, key), DictConfig) and key not in ANY:
            check_wrong_values(config, key)
    check_settings(config)  # is as it was


def test_the_top_level_too() -> None:
    config = composed("mode/search")
    for key in map(str, config):
        check_misspelling(config, key)
        if not isinstance(config[key], DictConfig):
            check_wrong_values(config, key)


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.startswith(("experiment", "tune"))]
)
def test_what_is_published_passes(option: str) -> None:
    check_settings(composed(option))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("output=null", "output is null; expected a path"),
        ("verbose=1", "verbose is 1; expected true or false"),
        ("plan=true", "plan is True; expected a mapping"),
        ("engine.accelerator=gpu", "expected one of auto, cpu, cuda"),
        ("engine.batch_size=0", "engine.batch_size is 0; expected a whole number at least 1"),
        ("merge.weights={b: 1}", "merge.weights names 'b'; the donors are onevision"),
        ("~model.donors.onevision", "model.donors is empty"),
        ("~engine", "engine has no _target_; choose an option of its group: engine=..."),
        ("~track", "track is missing; leave ~track out"),
        ("search.seed=null", "search.seed is null; expected a whole number at least 0"),
        ("evaluate.scorer=accuracy", "evaluate.scorer is 'accuracy'; expected a mapping or null"),
        (
            "mode.run=adamms.app.pipeline.serch",
            "mode.run is 'adamms.app.pipeline.serch', which cannot be imported",
        ),
        ("merge.alpha=.nan", "merge.alpha is '.nan'; expected a number in"),
        ("max_shard_gb=nan", "max_shard_gb is nan; expected a number above 0"),
    ],
)
def test_what_is_refused(override: str, message: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["output=out", "cache=cache", override])
    with pytest.raises(AdammsError) as refused:
        check_settings(config)
    assert message in str(refused.value)


def test_a_key_that_another_one_reads_is_known() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["output=out", "+mine=5", "max_shard_gb=${mine}"])
    check_settings(config)
