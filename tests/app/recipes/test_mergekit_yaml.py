"""What of mergekit's YAMLs is refused, by name and with the way on; and what is told."""

from pathlib import Path

import pytest
import yaml

from adamms.app.recipes.mergekit_yaml import Document, reference, source
from adamms.app.recipes.recipe_file import read_recipe
from adamms.errors import AdammsError
from adamms.mapping.expression import Read
from adamms.mapping.plan import Slot
from adamms.merge.mergekit.by_tensor import ByTensor

MODELS = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n"
SLICES = "slices:\n- sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]\n"
REFUSED = {
    "frankenmerge": (
        "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 24]}]\n"
        "- sources: [{model: b, layer_range: [8, 32]}]",
        "layers 8 to 32 for what begins at layer 24: layers that are stacked or moved",
    ),
    "shifted": (
        "merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 8]}\n"
        "  - {model: b, layer_range: [8, 16]}",
        "layers 0 to 8, 8 to 16 for what begins at layer 0",
    ),
    "moe": (
        "base_model: a\ngate_mode: hidden\nexperts: [{source_model: b}]",
        "experts: a mixture of experts",
    ),
    "modules": ("merge_method: linear\nmodules: {text: {}}", "modules: modules, parts of a model"),
    "union": (f"merge_method: linear\n{MODELS}tokenizer_source: union", "the tokenizer of union is not"),
    "tokens": (f"merge_method: linear\n{MODELS}tokenizer: {{tokens: {{x: {{}}}}}}", "tokenizer.tokens"),
    "template": (f"merge_method: linear\n{MODELS}chat_template: chatml", "chat_template is not expressed"),
    "nearswap": (f"merge_method: nearswap\n{MODELS}", "merge_method is 'nearswap'; expected one of: linear,"),
    "base": (f"merge_method: ties\n{MODELS}", "ties needs base_model"),
    "three": (
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}, {model: c}]",
        r"slerp of 3 models \(a, b, c\); expected 2",
    ),
    "list": (f"merge_method: [linear]\n{MODELS}", r"merge_method is \"\['linear'\]\"; expected one of"),
    "mapping": ("merge_method: linear\nmodels: [{model: {foo: bar}}]", "a model is {'foo': 'bar'}; expected"),
    "lora": (
        "merge_method: linear\nmodels: [{model: {lora: X}}]",
        "a model is {'lora': 'X'}; expected a path",
    ),
    "recursion": ("merge_method: linear\nmodels: [{model: &x {model: *x}}]", "Circular reference"),
    "tokenizer": (f"merge_method: linear\n{MODELS}tokenizer: base", "tokenizer is 'base'; expected {source"),
    "twice": (
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: a}]",
        "models has a twice; expected each model once",
    ),
    "alone in a slice": (
        f"merge_method: nuslerp\n{SLICES}- sources: [{{model: b, layer_range: [2, 4]}}]",
        r"nuslerp of 1 models \(b\); expected 2, in each slice",
    ),
    "base alone in a slice": (
        f"merge_method: slerp\nbase_model: a\n{SLICES}- sources: [{{model: a, layer_range: [2, 4]}}]",
        r"slerp of 1 models \(a\); expected 2, in each slice, one of them base_model, a",
    ),
    "base in no slice": (
        f"merge_method: slerp\nbase_model: c\n{SLICES}",
        r"slerp of 2 models \(a, b\); expected 2, in each slice, one of them base_model, c",
    ),
    "dtype": (f"merge_method: linear\n{MODELS}dtype: int4", "dtype is 'int4'; expected one of: float32"),
    "range": (
        "merge_method: linear\nslices: [{sources: [{model: a, layer_range: 4}]}]",
        r"layer_range is 4; expected \[first, end\]",
    ),
    "both": (f"merge_method: linear\n{MODELS}slices: [{{}}]", "expected either models or slices"),
    "two": (f"merge_method: linear\n{MODELS}---\nmerge_method: linear", "found 2 documents; expected one"),
    "nothing": ("a: 1", "no merge_method; expected a mergekit YAML"),
    "no mapping": ("- 1", "found a list; expected one mapping"),
    "syntax": ("a: [", "neither YAML nor JSON"),
    "architecture": (
        "merge_method: linear\nmodels: [{model: {model: {path: a}, override_architecture: X}}]",
        "override_architecture is not expressed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_run_is_is_refused_by_name(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    file = tmp_path / "recipe.yml"
    file.write_text(text)
    with pytest.raises(AdammsError, match=message) as caught:
        read_recipe(str(file))
    assert str(file) in str(caught.value)


TWO = "models: [{model: a}, {model: b}]\n"
AT_A_TENSOR = {
    "scale": (
        "merge_method: passthrough\nmodels: [{model: a, parameters: {scale: 2}}]",
        "passthrough with scale",
    ),
    "sum": (
        f"merge_method: linear\n{TWO}parameters: {{weight: 1, normalize: false}}",
        "linear with normalize: false has weights that add up to 2",
    ),
    "rescale": (
        f"merge_method: ties\nbase_model: c\n{TWO}parameters: {{weight: 1, rescale: true}}",
        "rescale: true with ties",
    ),
    "columns": (
        f"merge_method: nuslerp\n{TWO}"
        "parameters: {weight: 1, nuslerp_row_wise: true, nuslerp_flatten: false}",
        "takes the columns of a matrix",
    ),
    "negative": (
        f"merge_method: della\nbase_model: c\n{TWO}parameters: {{weight: -1}}",
        "della gives a the weight -1; expected none below 0",
    ),
    "two densities": (
        "merge_method: dare_ties\nbase_model: c\nparameters: {weight: 1, rescale: false}\n"
        "models: [{model: a, parameters: {density: 0.5}}, {model: b, parameters: {density: 0.4}}]",
        "rescale: false needs one density",
    ),
    "text": (
        f"merge_method: linear\n{TWO}parameters: {{weight: much}}",
        "weight is 'much'; expected a finite number",
    ),
    "infinite": (
        f"merge_method: linear\n{TWO}parameters: {{weight: .inf}}",
        "weight is inf; expected a finite",
    ),
    "no number": (
        f"merge_method: linear\n{TWO}parameters: {{weight: .nan}}",
        "weight is nan; expected a finite",
    ),
    "beyond": (
        f"merge_method: slerp\nbase_model: a\n{TWO}parameters: {{t: 2}}",
        r"t is 2; expected a number in \[0, 1\]",
    ),
    "steps": (
        f"merge_method: karcher\n{TWO}parameters: {{max_iter: -3}}",
        "max_iter is -3; expected at least 1",
    ),
    "tolerance": (f"merge_method: karcher\n{TWO}parameters: {{tol: 7}}", "tol is 7; expected a number in"),
    "gamma": (
        f"merge_method: breadcrumbs\nbase_model: c\n{TWO}parameters: {{weight: 1, gamma: 3}}",
        "gamma is 3; expected a number in",
    ),
    "condition": (f"merge_method: linear\n{TWO}parameters: {{weight: [{{filter: mlp}}]}}", "expected value"),
    "missing": (
        f"merge_method: linear\n{TWO}",
        "weight of the model target is missing for model.layers.1.up",
    ),
    "layers": (
        "merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nslices:\n- sources:\n"
        "  - {model: a, layer_range: [0, 3]}\n  - {model: b, layer_range: [0, 3]}",
        "the slices end with layer 3, and the model has 4 layers",
    ),
}


def schedule_of(text: str) -> ByTensor:
    node = Document(yaml.safe_load(text)).nodes()["merge"]["schedule"]
    return ByTensor(**{key: value for key, value in node.items() if key != "_target_"})


@pytest.mark.parametrize("case", AT_A_TENSOR)
def test_what_a_tensor_cannot_be_merged_with_is_refused(case: str) -> None:
    text, message = AT_A_TENSOR[case]
    slot = Slot("model.layers.1.up", (2, 2), "F32", "layers.1.mlp.up.weight", donors={"a": Read("up")})
    with pytest.raises(AdammsError, match=message):
        schedule_of(text).shares(slot, 4, {"a": 0.5, "b": 0.5}, None)


@pytest.mark.parametrize(
    ("role", "share"),
    [
        ("embed.weight", 0.0),
        ("head.weight", 0.0),
        ("layers.0.attn.q.weight", 0.0),
        ("layers.3.attn.q.weight", 0.5),
        ("layers.1.attn.q.weight", 0.25),
        ("layers.2.mlp.up.weight", 0.8),
    ],
)
def test_gradients_go_from_the_first_layer_to_the_last_and_filters_by_name(role: str, share: float) -> None:
    text = (
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [{filter: mlp, value: 0.8}, {value: [0, 0.375, 0.5]}]}"
    )
    slot = Slot(f"model.{role}", (2, 2), "F32", role, donors={"a": Read("w")})
    assert schedule_of(text).shares(slot, 4, {"a": 1.0}, None)["a"] == pytest.approx(share)


def test_models_are_named_by_path_revision_and_adapter() -> None:
    assert source("a/b@v1+c/d") == {"path": "a/b", "revision": "v1", "adapter": "c/d"}
    assert source("a/b") == {"path": "a/b"}
    assert reference({"model": {"path": "a", "revision": "v"}, "lora": "c"}) == "a@v+c"


def test_what_has_no_effect_is_told(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"merge_method: linear\nname: x\n{MODELS}parameters: {{density: 0.5, normalise: true}}")
    assert read_recipe(str(file)).notes == [
        f"{file}: name is not read.",
        f"{file}: linear has no parameter density.",
        f"{file}: linear has no parameter normalise. Nearest: normalize.",
    ]
    file.write_text(f"merge_method: multislerp\n{TWO}parameters: {{weight: 1, eps: 1e-3}}")
    assert read_recipe(str(file)).notes == [f"{file}: multislerp has no parameter eps."]
