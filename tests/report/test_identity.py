"""A run's id: one for equal experiments, never one for different ones; its names fit what W&B takes."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adamms.report.trackers import identity
from adamms.report.trackers.tracker import Job

KEYS = st.one_of(st.text(max_size=3), st.integers(0, 3), st.floats(0, 3), st.booleans())
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(-3, 3), st.text(st.sampled_from("a0.:,[]{}'\"/ "))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Equal with equal types: 1, 1.0, True and '1' are four values, and the order of keys is none."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        left, right = ({(type(key), key): value for key, value in each.items()} for each in (one, other))
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)  # 0.0 and -0.0 are two texts


def backwards(value: Any) -> Any:
    """The same with the keys of every mapping in another order."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(list(value))}
    return [backwards(inner) for inner in value] if isinstance(value, list) else value


@given(VALUES, VALUES)
def test_ids_are_equal_exactly_where_the_settings_are(one: Any, other: Any) -> None:
    first, second = identity.run_id({"merge": one}), identity.run_id({"merge": other})
    assert (first == second) == same(one, other)


@given(st.dictionaries(st.sampled_from(["merge", "search", "mapper", "seed"]), VALUES))
def test_the_order_of_keys_is_none_of_the_ids_business(settings: dict[str, Any]) -> None:
    assert identity.run_id(settings) == identity.run_id(backwards(settings))


@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4))
def test_values_do_not_run_into_each_other(one: list[Any], other: list[Any]) -> None:
    """Over neighbouring keys: {a: x, b: y} is not {a: xy}."""
    assume(not same(one, other))
    settings = [{f"k{index}": value for index, value in enumerate(each)} for each in (one, other)]
    assert identity.run_id(settings[0]) != identity.run_id(settings[1])


def test_where_results_go_and_who_is_told_is_no_part_of_it(tmp_path: Path) -> None:
    def settings(home: str, **others: Any) -> dict[str, Any]:
        own = {"output": f"{home}/out", "cache": f"{home}/cache", "store": f"{home}/cache/answers"}
        told = {
            "track": {"tags": [home]},
            "data": {"folder": f"{home}/cache/digits"},
            "merge": {"alpha": 0.3},
        }
        return own | told | others

    assert identity.run_id(settings("/a")) == identity.run_id(settings("/b"))
    assert identity.run_id(settings("/a")) != identity.run_id(settings("/a", merge={"alpha": 0.4}))
    assert identity.run_id(settings("/a")) != identity.run_id(
        settings("/a", data={"folder": "/a/cache2/digits"})
    )


def test_a_cache_that_the_run_fills_does_not_change_its_id(tmp_path: Path) -> None:
    settings = {"cache": str(tmp_path), "model": {"target": {"path": str(tmp_path / "demo/target")}}}
    before = identity.run_id(settings)
    (tmp_path / "demo/target").mkdir(parents=True)
    (tmp_path / "demo/target/config.json").write_text("{}")
    assert identity.run_id(settings) == before


def test_inputs_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders of the same names at the same places: another word, another weight, another file."""
    model, data = tmp_path / "model", tmp_path / "data.jsonl"
    model.mkdir()
    weights = model / "model.safetensors"
    weights.write_bytes(bytes(3 << 20))
    data.write_text("one")
    settings = {"model": {"donors": {"a": {"path": "model"}}}, "engine": {"logs": {0.0: str(data)}}}
    monkeypatch.chdir(tmp_path)
    seen = {identity.run_id(settings)}
    os.utime(weights, (0, 0))
    assert {identity.run_id(settings)} == seen
    data.write_text("two")
    seen.add(identity.run_id(settings))
    weights.write_bytes(bytes((3 << 20) - 1) + b"x")
    seen.add(identity.run_id(settings))
    (model / "config.json").write_text("{}")
    seen.add(identity.run_id(settings))
    monkeypatch.chdir("/")
    seen.add(identity.run_id(settings))
    assert len(seen) == 5


def test_results_inside_an_input_folder_are_no_input(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    settings = {"model": {"target": {"path": str(tmp_path)}}, "output": str(tmp_path / "multirun/today/0")}
    before = identity.run_id(settings)
    (tmp_path / "multirun/today/1").mkdir(parents=True)
    (tmp_path / "multirun/today/1/plan.json").write_text("{}")
    assert identity.run_id(settings) == before
    (tmp_path / "other.json").write_text("{}")
    assert identity.run_id(settings) != before


def test_the_id_is_one_that_wandb_takes() -> None:
    found = identity.run_id({"merge": {"alpha": 0.3}})
    assert len(found) == 24
    assert set(found) <= set("0123456789abcdef")


CUSTOM = {
    "model": {
        "target": {"path": "org/" + "t" * 80},
        "donors": {"a": {"path": "/x/one/"}, "b": {"path": "two"}},
    }
}


def test_tags_name_pair_method_and_engine_and_fit() -> None:
    job = Job({"model": "custom", "merge": "ties_mergekit", "engine": "vllm"})
    pair, *others = identity.tags(CUSTOM, job)
    assert others == ["ties_mergekit", "vllm"]
    assert pair.startswith("one + two into ttt")
    assert len(pair) == 64
    other = {"model": CUSTOM["model"] | {"target": {"path": "t" * 81}}}
    assert identity.tags(other, job)[0] != pair
    named = Job({"model": "cogvlm_from_llava", "merge": "linear", "engine": "vllm"})
    assert identity.tags(CUSTOM, named) == ("cogvlm_from_llava", "linear", "vllm")
    assert identity.tags(CUSTOM, Job({"model": "demo", "merge": "linear", "engine": "replay"})) == ("replay",)
    assert identity.tags({}, Job()) == ()


def test_a_multiruns_jobs_are_one_group_and_a_single_run_is_of_its_experiment() -> None:
    choices = {"model": "cogvlm_from_llava", "experiment": "paper_cogvlm_llava"}
    for sweep in ("multirun/2026-11-22/07-45-00", "/scratch/me/multirun/2026-11-22/07-45-00"):
        assert identity.group({}, Job(choices, (), sweep)) == "2026-11-22/07-45-00"
    assert identity.group({}, Job(choices)) == "paper_cogvlm_llava"
    custom = Job({"model": "custom", "experiment": "custom"})
    assert str(identity.group(CUSTOM, custom)).startswith("one + two into ttt")
    assert identity.group({}, Job()) is None


def test_a_name_says_what_is_special_about_a_run() -> None:
    choices = {"model": "demo", "merge": "ties", "engine": "vllm"}
    typed = ("model=demo", "merge=ties", "merge.density=0.2", "search.rule=sum", "track=wandb", "output=o")
    assert identity.name({}, Job(choices, typed)) == "demo ties merge.density=0.2 search.rule=sum"
    long = identity.name({}, Job(choices, tuple(f"search.grid=[{index}]" for index in range(30))))
    assert long is not None
    assert len(long) == 128


@pytest.mark.parametrize(
    ("overrides", "pair", "name"),
    [
        ("merge=ties +search.signal.rule=sum data=jsonl", None, "ties rule=sum"),
        ("merge.alpha=0.30000000000000004", None, "alpha=0.3"),
        ("merge.alpha=0.4 model_folder=A/model data.seed=1", "b into t", "ties alpha=0.4 seed=1"),
        ("merge.rules.a.factor=1 merge.rules.b.factor=2", None, "a.factor=1 b.factor=2"),
    ],
)
def test_in_a_multirun_a_name_says_what_varies(overrides: str, pair: str | None, name: str) -> None:
    varying = ("merge", "search.signal.rule", "merge.alpha", "model_folder", "data.seed")
    varying += ("merge.rules.a.factor", "merge.rules.b.factor")
    job = Job({"merge": "ties", "model": "demo"}, overrides.split(), "multirun/a/b", varying, pair)
    assert identity.name({}, job) == name
