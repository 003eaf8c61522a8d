"""The schema of the configuration: every key of every group, misspelt and with values of a wrong type."""

from collections.abc import Iterator

import pytest
from command import CONF, composed, read_run
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from adamms.app.config.messages import explain
from adamms.app.settings import read
from adamms.errors import AdammsError

OPTIONS = sorted(
    str(file.relative_to(CONF).with_suffix("")) for file in CONF.rglob("*.yaml") if file.parent != CONF
)
# Groups whose options are keys at the top level, or of Hydra's own; models, which have the same keys; rules,
# which have any name; an option without a key.
ELSEWHERE = ("checkpoint/", "experiment/", "tune/", "hydra/", "model/", "merge/rules/", "merge/schedule/none")
CHOSEN = [option for option in OPTIONS if not option.startswith(ELSEWHERE)] + ["model/custom", "model/demo"]
# What an option goes with.
NEEDS = {"search/coefficients": ["merge.rules={attn: {roles: [attn], factor: 1}}"]}
NEEDS |= {f"data/{name}": ["data.path=x"] for name in ("file", "jsonl", "benchmarks")}
# Mappings whose keys are names that the user gives.
NAMES = ("model.donors", "data.prompts", "data.choice_prompts", "data.benchmarks", "engine.only")
NAMES += ("evaluate.logged.metrics", "evaluate.logged.best", "evaluate.lmms_eval.model_args")
NAMES += ("search.signal.members", "search.signal.weights")
# Values that may be anything, or any mapping, as far as the door can tell.
ANY = ("search.grid", "search.space", "engine.logs", "evaluate.lmms_eval.model_args")
ANY += ("evaluate.lmms_eval.gen_kwargs", "evaluate.lmms_eval.environment")
ANY += ("evaluate.vlmevalkit.model_args", "evaluate.vlmevalkit.environment")


def option_composed(option: str) -> DictConfig:
    group, _, name = option.rpartition("/")
    return composed(f"{group}={name}", *NEEDS.get(option, ()))


def leaves(node: DictConfig, where: str = "") -> Iterator[str]:
    """The full keys below a node that a user may set, mappings among them."""
    for name in node:
        if not str(name).startswith("_"):
            yield f"{where}{name}"
            inner = node._get_node(name)
            given = f"{where}{name}" in NAMES[1:]
            if isinstance(inner, DictConfig) and not (given or inner._is_none() or inner._is_interpolation()):
                yield from leaves(inner, f"{where}{name}.")


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
        parent[wrong] = None
    with pytest.raises(AdammsError, match=rf"^unknown key {full}; ") as added:
        read(config)
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
            read(config)
        assert key in str(refused.value), (key, value)
        parent._set_item_impl(last, before)


@pytest.mark.parametrize("option", CHOSEN)
def test_every_key_misspelt_and_every_value_of_a_wrong_type_are_answered(option: str) -> None:
    config = option_composed(option)
    read(config)
    where = option.rpartition("/")[0].replace("/", ".")
    for key in leaves(OmegaConf.select(config, where), f"{where}."):
        check_misspelling(config, key)
        if not isinstance(OmegaConf.select(config, key), DictConfig) and key not in ANY:
            check_wrong_values(config, key)
    read(config)  # is as it was


def test_a_tool_that_nobody_has_heard_of_is_one_by_its_class() -> None:
    run = read_run(
        "evaluate=[lmms_eval,accuracy]",
        "evaluate.lmms_eval.tasks=[mme]",
        *(
            f"+evaluate.mine.{key}={value}"
            for key, value in {
                "_target_": "adamms.evaluate.vlmevalkit.run.VlmEvalKit",
                **{"python": "p", "data": "[x]", "model": "m", "model_args": "null", "judge": "j"},
                **{"limit": "null", "arguments": "[]", "environment": "null"},
            }.items()
        ),
    )
    assert [type(tool).__name__ for tool in run.tools] == ["LmmsEval", "VlmEvalKit"]
    assert read_run("evaluate=[lmms_eval,accuracy]", "evaluate.lmms_eval=null").tools == ()
    twice = (
        "evaluate=[lmms_eval,accuracy]",
        "evaluate.lmms_eval.tasks=[mme]",
        "+evaluate.x=${evaluate.lmms_eval}",
    )
    with pytest.raises(AdammsError, match="of lmms_eval, x two leave their files in one place"):
        read_run(*twice)


def test_the_top_level_too() -> None:
    config = composed()
    for key in map(str, config):
        check_misspelling(config, key)
        if not isinstance(config[key], DictConfig):
            check_wrong_values(config, key)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("output=null", "output is null; expected a path"),
        ("verbose=1", "verbose is 1; expected true or false"),
        ("plan=true", "plan is True; expected a mapping"),
        ("engine.accelerator=gpu", "engine.accelerator is 'gpu'; expected one of auto, cpu, cuda"),
        (
            "engine.precision=bf16-tru",
            "expected one of auto, 32-true, bf16-true, 16-true. Nearest: bf16-true",
        ),
        ("engine.batch_size=0", "engine.batch_size is 0; expected a number above 0"),
        ("engine.batch_size=1.5", "engine.batch_size is 1.5; expected a whole number"),
        ("merge.weights={b: 1}", "merge.weights names 'b'; the donors are onevision"),
        ("merge.weights=3", "merge.weights is 3; expected {donor name: number}"),
        ("merge.rules={1: {factor: 1}}", "the name '1' is no key"),
        ("merge.rules=[{role: [attn], factor: 1}]", "unknown key merge.rules[0].role; expected roles, "),
        ("merge.rules=[{roles: attn, factor: 1}]", "merge.rules[0].roles is 'attn'; expected a list"),
        ("~model.donors.onevision", "model.donors is empty"),
        ("~engine", "engine has no _target_; choose an option of its group: engine=..."),
        ("~track", "track is missing; write it into the YAML, give +track=..., or leave ~track out"),
        ("+engine._partial_=true", "unknown key engine._partial_; expected "),
        ("track._target_=math.pi", "track names 'math.pi', which is a float; expected a class"),
        ("track._target_=builtins.dict", "track names dict, whose parameters are not known"),
        ("track._target_=fractions.Fraction", "track is a Fraction without run; expected all that adamms."),
        ("search.signal._target_=adamms.search.difference.ExactMatch", "search.signal"),
        ("search.seed=null", "search.seed is null; expected a whole number"),
        ("evaluate.scorer=accuracy", "evaluate.scorer is 'accuracy'; expected a mapping or null"),
        ("mode.run=adamms.app.modes.serch", "mode.run names 'adamms.app.modes.serch', which cannot be"),
        ("merge.alpha=.nan", "merge.alpha is '.nan'; expected a number in"),
        ("max_shard_gb=nan", "max_shard_gb is nan; expected a finite number"),
        ("mapper.layers=[1]", "mapper.layers"),
        ("search.grid=much", "search.grid is 'much'; expected alphas"),
        ("+search.space={merge.alpha: [0, 1]}", "search.space goes with search=coefficients"),
    ],
)
def test_what_is_refused(override: str, message: str) -> None:
    with pytest.raises(AdammsError) as refused:
        read_run(override)
    assert message in str(refused.value)


def with_own_key(name: str) -> DictConfig:
    """As in a YAML of one's own; the command line takes no such names."""
    config = composed()
    with open_dict(config):
        config[name], config.max_shard_gb = 5, f"${{{name}}}"
    return config


def test_a_key_that_another_one_reads_is_known() -> None:
    assert read_run("+mine=5", "max_shard_gb=${mine}").max_shard_gb == 5
    assert read(with_own_key("größe")).max_shard_gb == 5


def test_a_backslash_and_n_is_a_line_break_in_texts() -> None:
    texts = [
        "data=jsonl",
        "data.path=x",
        r"data.prompt='{question}\nShortly.\\n'",
        r"+data.prompts.a='{question}\n'",
    ]
    run = read_run(*texts, r'engine.stop=["\n","USER:"]')
    assert run.data.prompt == "{question}\nShortly.\\n"
    assert run.data.prompts == {"a": "{question}\n"}
    assert run.engine.stop == ("\n", "USER:")
    assert run.config["engine"]["stop"] == ["\n", "USER:"]


def test_what_has_no_value_is_told_by_who_uses_it() -> None:
    """A plan needs no data; a search does."""
    run = read_run("data=jsonl")
    with pytest.raises(AdammsError, match=r"^data\.path has no value; give it as data\.path=\.\.\.$"):
        run.data.load()
    run = read_run("mode=compare")
    with pytest.raises(AdammsError, match=r"^mode\.folder has no value"):
        run.start(run, None)
