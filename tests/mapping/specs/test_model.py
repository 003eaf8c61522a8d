"""A checkpoint read through its architecture: layers that an ancestor lacks, and what configs say where."""

import pytest
from headers import model, read, trees
from mappers import spec_mapper

from adamms.errors import AdammsError

CONFIG = {"text_config": {"num_hidden_layers": 4, "cross_attention_layers": [1, 3]}}


def layer(prefix: str, index: int, attention: str = "self_attn") -> dict[str, tuple[int, ...]]:
    name = f"{prefix}layers.{index}."
    shapes = {f"{name}{attention}.{p}_proj.weight": (6, 6) for p in "qkvo"}
    shapes |= {f"{name}mlp.{p}_proj.weight": (10, 6) for p in ("gate", "up")}
    shapes[f"{name}mlp.down_proj.weight"] = (6, 10)
    shapes |= {f"{name}{p}_layernorm.weight": (6,) for p in ("input", "post_attention")}
    if attention == "cross_attn":
        shapes |= {f"{name}cross_attn.{p}_norm.weight": (6,) for p in "qk"}
        shapes |= {f"{name}cross_attn_{p}_gate": (1,) for p in ("attn", "mlp")}
    return shapes


def language(prefix: str, head: str, layers: list[dict[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    shapes = {f"{prefix}embed_tokens.weight": (7, 6), f"{head}.weight": (7, 6), f"{prefix}norm.weight": (6,)}
    for each in layers:
        shapes |= each
    return shapes


def mllama() -> dict[str, tuple[int, ...]]:
    prefix = "language_model.model."
    layers = [layer(prefix, i, "cross_attn" if i in (1, 3) else "self_attn") for i in range(4)]
    return language(prefix, "language_model.lm_head", layers) | {"vision_model.x.weight": (3,)}


def llama() -> dict[str, tuple[int, ...]]:
    return language("model.", "lm_head", [layer("model.", i) for i in range(2)])


def test_layers_are_counted_without_those_that_the_ancestor_lacks() -> None:
    plan = spec_mapper().plan(model(mllama(), "mllama", config=CONFIG), {"a": model(llama())})
    found = trees(plan)
    prefix = "language_model.model.layers."
    for own, theirs in ((0, 0), (2, 1)):
        for name in layer("", own):
            donor = name.replace(f"layers.{own}.", f"model.layers.{theirs}.")
            assert found[f"language_model.model.{name}"] == read(donor)
    kept = {slot.name: slot.reason for slot in plan.slots if not slot.merged}
    assert {reason for name, reason in kept.items() if name.startswith(prefix)} == {"cross-attention layer"}
    assert len([name for name in kept if name.startswith(prefix)]) == 2 * 13
    assert plan.unused == {"a": {}}


def test_a_model_without_them_takes_the_others() -> None:
    plan = spec_mapper().plan(model(llama()), {"a": model(mllama(), "mllama", config=CONFIG)})
    name = "layers.1.mlp.up_proj.weight"
    assert trees(plan)[f"model.{name}"] == read("language_model.model.layers.2.mlp.up_proj.weight")
    assert len(plan.unused["a"]["cross-attention layer"]) == 2 * 13


def test_a_tensor_that_the_class_has_must_be_there() -> None:
    shapes = {name: shape for name, shape in mllama().items() if "layers.2." not in name}
    with pytest.raises(AdammsError, match=r"lack 9 tensors of the language model, first"):
        model(shapes, "mllama", config=CONFIG)


@pytest.mark.parametrize("nest", ["text_config", "llm_config", "language_config"])
def test_the_number_of_layers_and_the_tie_are_read_where_configs_nest_them(nest: str) -> None:
    with pytest.raises(AdammsError, match=r"incomplete: layer 2 of 3 lacks"):
        model(llama(), config={nest: {"num_hidden_layers": 3}})
    headless = {name: shape for name, shape in llama().items() if "lm_head" not in name}
    with pytest.raises(AdammsError, match=r"no head \(lm_head\) is stored"):
        model(headless, config={nest: {"tie_word_embeddings": False}})
    assert model(headless, config={nest: {"tie_word_embeddings": False}, "tie_word_embeddings": True})


def test_of_a_model_without_head_the_outermost_word_on_the_tie_counts() -> None:
    headless = {name: shape for name, shape in llama().items() if "lm_head" not in name}

    def config(outer: bool) -> dict[str, object]:
        inner = {"text_config": {"tie_word_embeddings": True}}  # its class's default
        return inner | {"architectures": ["TernModel"], "tie_word_embeddings": outer}

    assert "lm_head.weight" in trees(
        spec_mapper().plan(model(llama()), {"a": model(headless, config=config(True))})
    )
    plan = spec_mapper().plan(model(llama()), {"a": model(headless, config=config(False))})
    assert {slot.name: slot.reason for slot in plan.slots if not slot.merged} == {
        "lm_head.weight": "a has no head.weight"
    }
