"""Which coefficient every tensor gets: conditions, gradients along the layers, the first rule wins."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from command import CONF, Outcome, pair
from configured import content
from safetensors.torch import load_file
from tiny import assert_same_bits
from tiny_merges import interpolated

from adamms.app.settings import read_merge
from adamms.errors import AdammsError
from adamms.mapping.expression import Read
from adamms.mapping.plan import Slot
from adamms.merge.rules import Rule, shares_by_slot, without_effect


def slot(name: str, role: str) -> Slot:
    return Slot(name, (2, 2), "F32", role, {"a": Read(name), "b": Read(name)})


LAYERS = 5
SLOTS = [
    slot("embed", "embed.weight"),
    *(slot(f"{i}.q", f"layers.{i}.attn.q.weight + layers.{i}.attn.k.weight") for i in range(LAYERS)),
    *(slot(f"{i}.up", f"layers.{i}.mlp.up.weight@text") for i in range(LAYERS)),
    slot("norm", "final_norm.weight"),
    slot("head", "head.weight"),
    Slot("kept", (2, 2), "F32", "layers.0.attn.o.weight", reason="kept"),
    slot("other", ""),
]
SHARES, PARTS = {"a": 0.1, "b": 0.3}, {"a": 0.25, "b": 0.75}


def resolve(*rules: Rule) -> dict[str, dict[str, float]]:
    return shares_by_slot(rules, SLOTS, SHARES, PARTS)


def test_no_rule_changes_nothing() -> None:
    assert resolve() == {}


def test_a_factor_scales_every_share_and_an_alpha_replaces_their_sum() -> None:
    found = resolve(Rule(roles=("attn",), factor=0.5), Rule(match="^head$", alpha=0.8))
    assert set(found) == {f"{i}.q" for i in range(LAYERS)} | {"head"}
    assert found["3.q"] == {"a": 0.05, "b": 0.15}
    assert found["head"] == pytest.approx({"a": 0.2, "b": 0.6}, rel=1e-15)


def test_the_first_rule_that_applies_wins() -> None:
    found = resolve(Rule(match="^2", alpha=0.0), Rule(layers=(1, 2), factor=2.0), Rule(alpha=1.0))
    assert found["2.q"] == found["2.up"] == {"a": 0.0, "b": 0.0}
    assert found["1.q"] == {"a": 0.2, "b": 0.6}
    assert found["0.q"] == found["embed"] == found["other"] == PARTS
    assert "kept" not in found


def test_rules_without_effect_are_known() -> None:
    layers, mlp, rest = Rule(layers=(0, 4), factor=0.5), Rule(roles=("mlp",), factor=1.0), Rule(factor=0.0)
    assert without_effect([layers, mlp, rest], SLOTS) == [mlp]
    assert without_effect([mlp, layers, rest], SLOTS) == []


def test_all_conditions_of_a_rule_must_hold() -> None:
    found = resolve(Rule(roles=("mlp", "norm"), layers=(0, 1), match="1", factor=0.0))
    assert set(found) == {"1.up"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(roles=("attn",), factor=(0.0, 1.0)), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (Rule(roles=("attn",), factor=(0.0, 1.0, 0.0)), [0.0, 0.5, 1.0, 0.5, 0.0]),
        (Rule(roles=("attn",), layers=(1, 3), factor=(1.0, 0.0)), [None, 1.0, 0.5, 0.0, None]),
        (Rule(roles=("attn",), layers=(2, 2), factor=(1.0, 0.0)), [None, None, 1.0, None, None]),
    ],
)
def test_anchor_points_along_the_layers(rule: Rule, expected: list[float | None]) -> None:
    found = resolve(rule)
    factors = [found[f"{i}.q"]["b"] / 0.3 if f"{i}.q" in found else None for i in range(LAYERS)]
    assert factors == pytest.approx(expected, abs=1e-15)


def test_a_part_of_the_depth_has_the_layers_whose_middle_lies_in_it() -> None:
    found = resolve(Rule(depth=(0.0, 0.3), factor=0.0), Rule(depth=(0.6, 1.0), factor=2.0))
    assert {name: shares["a"] for name, shares in found.items() if name.endswith("q")} == {
        **{"0.q": 0.0, "1.q": 0.0},
        **{"3.q": 0.2, "4.q": 0.2},
    }


def test_donors_share_what_a_rule_says_by_its_own_weights() -> None:
    found = resolve(
        Rule(match="^0", weights={"a": 1.0}, factor=1.0),
        Rule(match="^1", weights={"a": 1.0, "b": 3.0}, factor=0.5),
        Rule(match="^2", weights={"b": 2.0, "a": 2.0}, alpha=0.6),
    )
    assert found["0.q"] == pytest.approx({"a": 0.4, "b": 0.0})
    assert found["1.q"] == pytest.approx({"a": 0.05, "b": 0.15})
    assert found["2.up"] == pytest.approx({"a": 0.3, "b": 0.3})


def test_embeddings_lie_at_the_first_layer_and_the_head_at_the_last() -> None:
    found = resolve(Rule(roles=("embed", "head", "final_norm"), alpha=(0.2, 0.4)))
    assert {name: sum(shares.values()) for name, shares in found.items()} == pytest.approx(
        {"embed": 0.2, "norm": 0.4, "head": 0.4}
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs either factor or alpha"),
        ({"factor": 1.0, "alpha": 0.5}, "needs either factor or alpha"),
        ({"factor": ()}, "has an empty list"),
        ({"factor": 1.0, "layers": (3, 1)}, r"layers is \[3, 1\]; expected \[first, last\]"),
        ({"factor": 1.0, "match": "("}, "match is not a regular expression"),
    ],
)
def test_bad_rules(settings: dict[str, object], message: str) -> None:
    with pytest.raises(AdammsError, match=message):
        Rule(**settings)  # type: ignore[arg-type]


RECIPES = {
    "none": {},
    "late": {**dict.fromkeys(("embed", "0.q", "1.up", "norm", "head"), 0.0), "2.q": 0.1, "4.up": 0.1},
    "early": {**dict.fromkeys(("embed", "3.q", "4.up", "norm", "head"), 0.0), "0.q": 0.1, "2.up": 0.1},
    "attention": {**dict.fromkeys(("embed", "0.up", "4.up", "norm", "head"), 0.0), "0.q": 0.1, "4.q": 0.1},
    "thirds": dict.fromkeys(("embed", "0.q", "2.up", "4.up", "head"), 0.1),
    "early_a_late_b": {"0.q": 0.4, "1.up": 0.4, "3.q": 0.0, "4.up": 0.0},
}


def test_layer_recipes_of_conf() -> None:
    assert RECIPES.keys() == {file.stem for file in (CONF / "merge/rules").glob("*.yaml")}
    for name, expected in RECIPES.items():
        rules = content(f"merge/rules/{name}").get("rules")
        settings = read_merge(content("merge/linear") | {"device": "cpu", "rules": rules})
        found = resolve(*settings.rules)
        assert {slot: found[slot]["a"] for slot in expected} == pytest.approx(expected), name


def test_rules_that_do_not_fit_the_plan() -> None:
    with pytest.raises(AdammsError, match=r"merge\.rules\.roles is 'atn'; expected one of.*Nearest: attn"):
        resolve(Rule(factor=1.0, roles=("atn",)))
    with pytest.raises(AdammsError, match=r"merge\.rules: Rule.* applies to no tensor that is merged"):
        resolve(Rule(factor=1.0), Rule(roles=("attn.o",), factor=1.0))
    with pytest.raises(AdammsError, match=r"rules: Rule.* makes the donors' share of head 1\.2; expected"):
        resolve(Rule(match="head", factor=3.0))
    with pytest.raises(AdammsError, match="along the layers need the layer of other"):
        resolve(Rule(match="other", factor=(0.0, 1.0)))


RULES = (
    "merge.rules=[{roles: [norm], alpha: 0}, {roles: [attn], factor: [0, 2]}, {match: lm_head, alpha: 0.9}]"
)


def test_the_written_model_has_each_tensors_own_share(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run(*pair(talkative), "mode=merge", "merge.alpha=0.4", RULES, f"output={out}")
    assert done.status == 0, done.err
    merged, target, donor = (
        load_file(folder / "model.safetensors")
        for folder in (out / "model", talkative / "target", talkative / "donor")
    )
    layers = 1 + max(int(name.split(".")[2]) for name in target if name.startswith("model.layers."))

    def alpha(name: str) -> float:
        if "norm" in name:
            return 0.0
        if "self_attn" in name:
            return 0.4 * 2 * int(name.split(".")[2]) / (layers - 1)
        return 0.9 if name == "lm_head.weight" else 0.4

    for name in target:
        if name.startswith(("model.", "lm_head")):
            other = donor[f"language_model.{name}"].double()
            expected = (1 - alpha(name)) * target[name].double() + alpha(name) * other
            torch.testing.assert_close(merged[name].double(), expected, rtol=1e-6, atol=1e-7)
        if "norm" in name:
            assert_same_bits(merged[name], target[name])
    recipe = json.loads((out / "model/adamms_recipe.json").read_text())
    assert recipe["exceptions"]["lm_head.weight"] == {"a": 0.9}
    assert "model.layers.0.mlp.up_proj.weight" not in recipe["exceptions"]

    names = [
        "z: {roles: [norm], alpha: 0}",
        "attn: {roles: [attn], factor: [0, 2]}",
        "a: {match: lm_head, alpha: 1}",
    ]
    given = [f"merge.rules={{{', '.join(names)}}}", "merge.rules.a.alpha=0.9"]
    named = run(*pair(talkative), "mode=merge", "merge.alpha=0.4", *given, f"output={tmp_path / 'named'}")
    assert named.status == 0, named.err
    weights = "model.safetensors"
    assert (tmp_path / "named/model" / weights).read_bytes() == (out / "model" / weights).read_bytes()
    found = json.loads((tmp_path / "named/model/adamms_recipe.json").read_text())
    assert isinstance(found.pop("replay")["merge"]["rules"], dict)  # as they were given
    assert isinstance(recipe.pop("replay")["merge"]["rules"], list)
    assert found == recipe


def test_where_a_rule_says_its_own_alpha_the_target_changes_at_alpha_0(tmp_path: Path) -> None:
    """So a search with this rule has a start of its own, and answers of its own in the store."""
    states = {"target": tiny.llama_state(1), "donor": tiny.llama_state(2)}
    folders = [tiny.write_model(tmp_path / name, state) for name, state in states.items()]
    plain = interpolated(*folders, alpha=0.0)
    rules = (
        Rule(roles=("norm",), alpha=0.0),
        Rule(roles=("attn",), factor=2.0),
        Rule(match="head", alpha=0.9),
    )
    ruled = replace(plain, exceptions=shares_by_slot(rules, plain.plan.slots, {"a": 0.0}, {"a": 1.0}))
    changed = {name for name, tensor in ruled.tensors() if not torch.equal(tensor, states["target"][name])}
    assert changed == {"lm_head.weight"}
    assert ruled.fingerprint != plain.fingerprint


BAD_RULES = {
    "[{role: [norm], alpha: 0}]": "unknown key merge.rules[0].role; expected roles, layers",
    "[{roles: norm, alpha: 0}]": "merge.rules[0].roles is 'norm'; expected a list",
    "[{factor: -1}]": "merge.rules[0].factor is -1; expected ",
    "[{alpha: [0.5, 1.5]}]": "merge.rules[0].alpha",
    "[{layers: [-1, 2], alpha: 0}]": "merge.rules[0].layers",
    "[{layers: [1, 2, 3], alpha: 0}]": "merge.rules[0].layers",
    "{n: {role: [norm], alpha: 0}}": "unknown key merge.rules.n.role; expected roles, layers",
    "{a-b: {alpha: 0}}": "merge.rules: the name 'a-b' is no key; expected letters, digits and _",
    "{n: norm}": "merge.rules.n is 'norm'; expected a mapping",
    "[norm]": "merge.rules[0] is 'norm'; expected a mapping",
}


def test_bad_rules_of_a_configuration() -> None:
    for rules, message in BAD_RULES.items():
        with pytest.raises(AdammsError) as caught:
            read_merge(content("merge/linear") | {"device": "cpu", "rules": yaml.safe_load(rules)})
        assert message in str(caught.value), rules


def test_a_rule_that_applies_to_nothing_on_the_command_line(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    rules = "merge.rules=[{match: nothing, alpha: 0}]"
    done = run(*pair(talkative), "mode=merge", rules, f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "applies to no tensor that is merged" in done.err
    assert "Traceback" not in done.err
