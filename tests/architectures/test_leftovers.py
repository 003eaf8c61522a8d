"""Tensors beside an architecture's own, and names with prefixes: kept, mapped or refused."""

from typing import Any

import headers
import pytest
from headers import Shapes, kept, model, read, trees
from mappers import spec_mapper
from tiny_types import save_tiny

from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping.specs.model import Model, describe

CONFIG = {"num_hidden_layers": 2, "num_nextn_predict_layers": 1, "tie_word_embeddings": False}


def llama() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.norm.weight": (6,)}
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (7, 6))
    for layer in ("model.layers.0.", "model.layers.1."):
        shapes |= {f"{layer}self_attn.{p}_proj.weight": (6, 6) for p in "qkvo"}
        shapes |= {f"{layer}mlp.{p}_proj.weight": (10, 6) for p in ("gate", "up")}
        shapes |= {f"{layer}{p}_layernorm.weight": (6,) for p in ("input", "post_attention")}
        shapes[f"{layer}mlp.down_proj.weight"] = (6, 10)
    return shapes


@pytest.fixture(scope="module")
def glm4v(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that no spec describes."""
    checkpoint = open_checkpoint(save_tiny("glm4v", tmp_path_factory.mktemp("glm4v") / "model"))
    return describe(checkpoint, recognise(checkpoint.config, checkpoint.folder))


def planned(target: Shapes, donor: Shapes, **config: Any) -> headers.Plan:
    return spec_mapper().plan(model(target, config=CONFIG), {"a": model(donor, config=CONFIG | config)})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "rotary frequencies (a constant)"),
        ("model.rotary_emb.original_inv_freq", "rotary frequencies (a constant)"),
        ("model.position_ids", "position numbers (a constant)"),
        ("mtp.layers.0.mlp.experts.3.up_proj.weight", "multi-token prediction"),
        ("model.mtp_layers.0.input_layernorm.weight", "multi-token prediction"),
        ("model.layers.2.mlp.up_proj.weight", "multi-token prediction"),  # the one behind the last
        ("model.layers.2.shared_head.norm.weight", "multi-token prediction"),
        ("v_head.summary.weight", "value head (reinforcement learning)"),
        ("module.score.weight", "classification head"),
        ("ema.model.norm.weight", "moving average of the weights"),
        ("model.layers.0.self_attn._extra_state", "state of training"),
    ],
)
def test_a_leftover_is_kept_in_a_target_and_not_used_of_a_donor(name: str, reason: str) -> None:
    more = llama() | {name: (3,)}
    plan = planned(more, more)
    assert kept(plan) == {name: reason}
    assert plan.unused == {"a": {reason: (name,)}}


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "base_model.model.", "model.", "state_dict.model.", "module._orig_mod."],
)
def test_a_donor_is_read_through_prefixes(prefix: str) -> None:
    plan = planned(llama(), {prefix + name: shape for name, shape in llama().items()})
    assert trees(plan) == {name: read(prefix + name) for name in llama()}


def test_a_donor_is_read_through_wrappers_of_some_modules() -> None:
    def wrapped(name: str) -> str:
        return name.replace("layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module.")

    plan = planned(llama(), {wrapped(name): shape for name, shape in llama().items()})
    assert trees(plan) == {name: read(wrapped(name)) for name in llama()}


def test_a_value_head_beside_its_wrapped_model() -> None:
    donor = {f"pretrained_model.{name}": shape for name, shape in llama().items()}
    plan = planned(llama(), donor | {"v_head.summary.weight": (1, 6)})
    assert not kept(plan)
    assert plan.unused["a"] == {"value head (reinforcement learning)": ("v_head.summary.weight",)}


@pytest.mark.parametrize("declared", ["LlamaModel", "LlamaForSequenceClassification"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_backbone_is_a_donor(declared: str, tied: bool) -> None:
    """Without its head, that of the embeddings only where config.json ties them."""
    donor = {name: shape for name, shape in llama().items() if name != "lm_head.weight"}
    if declared == "LlamaModel":
        donor = {name.removeprefix("model."): shape for name, shape in donor.items()}
    else:
        donor["score.weight"] = (1, 6)
    plan = planned(llama(), donor, architectures=[declared], tie_word_embeddings=tied)
    assert kept(plan) == ({} if tied else {"lm_head.weight": "a has no head.weight"})
    assert ("classification head" in plan.unused["a"]) == ("score.weight" in donor)


def test_a_head_that_is_stored_beside_tied_embeddings_is_a_head() -> None:
    plan = planned(llama(), llama(), tie_word_embeddings=True)
    assert trees(plan)["lm_head.weight"] == read("lm_head.weight")


def test_two_names_for_one_tensor_are_refused() -> None:
    with pytest.raises(AdammsError, match=r"'lm_head.weight' and 'module.lm_head.weight' are both"):
        model(llama() | {"module.lm_head.weight": (7, 6)})


@pytest.mark.parametrize(
    "name", ["qweight", "SCB", "weight_scale_inv", "weight.absmax", "weight.quant_state.bitsandbytes__nf4"]
)
def test_parts_of_quantised_weights_are_refused(name: str) -> None:
    with pytest.raises(AdammsError, match=r"holds 'model.layers.0.mlp.up_proj\..*': it looks quantised"):
        model(llama() | {f"model.layers.0.mlp.up_proj.{name}": (3,)})


def test_an_adapter_in_the_files_of_its_base_is_refused() -> None:
    name = "base_model.model.model.layers.0.mlp.up_proj"
    donor = llama() | {f"{name}.base_layer.weight": (10, 6), f"{name}.lora_A.default.weight": (2, 6)}
    with pytest.raises(AdammsError, match=r"base_layer.weight': an adapter lies beside .* merge_and_unload"):
        model(donor)


DERIVED = {
    "backbone alone": (lambda name: name.removeprefix("model."), {"a has no head.weight"}),
    "wrapped": (lambda name: f"module.{name}", set()),
    "wrapped inside": (lambda name: name.replace("layers.1.", "layers.1._fsdp_wrapped_module."), set()),
}


@pytest.mark.parametrize("case", DERIVED)
def test_the_rules_hold_for_derived_architectures(glm4v: Model, case: str) -> None:
    rename, reasons = DERIVED[case]
    tensors = {rename(name): entry for name, entry in glm4v.checkpoint.tensors.items()}
    config = dict(glm4v.checkpoint.config)
    if reasons:
        del tensors["lm_head.weight"]
        config["architectures"] = ["Glm4vModel"]
    entry = tensors[rename("model.language_model.norm.weight")]
    more = {"mtp.norm.weight": entry, "v_head.summary.weight": entry}
    checkpoint = Checkpoint(glm4v.checkpoint.folder, tensors | more, config)
    donor = describe(checkpoint, recognise(config, checkpoint.folder))
    plan = spec_mapper().plan(glm4v, {"a": donor})
    assert set(kept(plan).values()) == {"vision encoder"} | reasons
    unused = {reason: names for reason, names in plan.unused["a"].items() if reason != "vision encoder"}
    assert {name for names in unused.values() for name in names} == more.keys()


def test_any_other_name_is_an_error_as_before() -> None:
    with pytest.raises(AdammsError, match=r"1 tensors are not described by the architecture 'llama', first"):
        model(llama() | {"module.vision.weight": (3,)})
