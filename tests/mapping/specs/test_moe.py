"""Experts in one tensor or in many: which way round they lie, and what is refused."""

from pathlib import Path

import pytest
from expert_layouts import CONFIG, EXPERTS, HIDDEN, LAYOUTS, WIDTH, laid_out, state
from headers import kept, model, read, slot, trees
from mappers import spec_mapper

from adamms.architectures.roles import Role
from adamms.errors import AdammsError
from adamms.mapping.layout import Experts
from adamms.mapping.plan import Plan
from adamms.mapping.specs.model import Model

UP = "model.layers.1.mlp.experts.gate_up_proj"
DOWN = "model.layers.1.mlp.experts.down_proj"


def moe(layout: str = "per_expert", config: dict[str, object] | None = None, **sizes: int) -> Model:
    shapes = {name: tuple(tensor.shape) for name, tensor in laid_out(state(0, **sizes), layout).items()}
    given = CONFIG | ({"hidden_size": sizes["hidden"]} if "hidden" in sizes else {})
    return model(shapes, "qwen3_moe", config=given if config is None else config)


def expert(part: str, number: int) -> dict[str, str]:
    return read(f"model.layers.1.mlp.experts.{number}.{part}_proj.weight")


def test_the_plan_says_what_each_expert_is_made_of() -> None:
    matrices = [{"concat": [expert("gate", e), expert("up", e)], "dim": 0} for e in range(EXPERTS)]
    found = trees(spec_mapper().plan(moe("fused"), {"a": moe()}))
    assert found[UP] == {"stack": matrices}
    assert found[DOWN] == {"stack": [expert("down", e) for e in range(EXPERTS)]}
    found = trees(spec_mapper().plan(moe("transposed"), {"a": moe()}))
    assert found[UP] == {"stack": [{"transpose": each} for each in matrices]}
    found = trees(spec_mapper().plan(moe(), {"a": moe("transposed")}))
    one = {"transpose": {"pick": read(UP), "index": 2}}
    name = expert("up", 2)["read"]
    assert found[name] == {"slice": one, "dim": 0, "start": WIDTH, "stop": 2 * WIDTH}
    assert found[expert("down", 0)["read"]] == {"transpose": {"pick": read(DOWN), "index": 0}}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_plan_reads_back(layout: str) -> None:
    plan = spec_mapper().plan(moe(layout), {"a": moe("transposed")})
    assert Plan.from_json(plan.to_json()) == plan
    if layout != "per_expert":
        assert slot(plan, UP).experts == Experts(layout == "transposed", (WIDTH, WIDTH))
        assert slot(plan, DOWN).experts == Experts(layout == "transposed", (HIDDEN,))


@pytest.mark.parametrize(("hidden", "width"), [(8, 4), (8, 8)])  # 2I = H, and I = H
def test_where_the_shape_says_nothing_the_layers_other_tensor_does(hidden: int, width: int) -> None:
    plain = moe(hidden=hidden, width=width)
    for layout in ("fused", "transposed"):
        found = trees(spec_mapper().plan(plain, {"a": moe(layout, hidden=hidden, width=width)}))
        for part, name in (("gate", UP), ("down", DOWN)):
            tree = found[expert(part, 1)["read"]]
            assert ("transpose" in str(tree)) == (layout == "transposed"), name


def test_where_nothing_says_it_the_tensor_is_named() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "hidden_size"}
    with pytest.raises(AdammsError, match=r"experts\.down_proj has shape \(4, 8, 6\), by which its"):
        _ = moe("fused", config).roles
    with pytest.raises(AdammsError, match=r"has shape .*; expected the hidden size 5 \(config\.json\)"):
        _ = moe("fused", CONFIG | {"hidden_size": 5}).roles
    nested = moe("fused", {"num_hidden_layers": 2, "text_config": {"hidden_size": HIDDEN}})
    assert Role("moe.expert.up", "weight", 1, expert=3) in nested.roles


def test_another_number_of_experts_is_an_error_with_the_way_on() -> None:
    message = (
        r"experts\.0\.down_proj\.weight: the target has 4 experts in layer 0, a has 5 .*; experts correspond "
        r"by number\. mapper\.exclude=\[moe\] keeps the target's"
    )
    with pytest.raises(AdammsError, match=message):
        spec_mapper().plan(moe(), {"a": moe("fused", experts=5)})
    plan = spec_mapper(exclude=("moe",)).plan(moe("fused"), {"a": moe(experts=5)})
    assert set(kept(plan)) == {
        f"model.layers.{i}.mlp.{part}"
        for i in range(2)
        for part in ("gate.weight", "experts.gate_up_proj", "experts.down_proj")
    }


def test_experts_of_another_width_are_an_error() -> None:
    message = r"down_proj \(layers\.0\.moe\.expert\.0\.down\.weight\): the target has \[8, 6\], .* \[8, 7\]"
    with pytest.raises(AdammsError, match=message):
        spec_mapper().plan(moe("fused"), {"a": moe("transposed", width=7)})


def test_a_dense_donor_has_no_experts() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in state(0).items() if ".experts." not in name}
    shapes = {name: shape for name, shape in shapes.items() if ".mlp." not in name}
    shapes |= {f"model.layers.{i}.mlp.{p}_proj.weight": (6, HIDDEN) for i in range(2) for p in ("gate", "up")}
    shapes |= {f"model.layers.{i}.mlp.down_proj.weight": (HIDDEN, 6) for i in range(2)}
    plan = spec_mapper().plan(moe("fused"), {"a": model(shapes, "qwen3", config=CONFIG)})
    assert kept(plan)[UP] == "a has no moe.expert.gate.weight"
    assert kept(plan)["model.layers.0.mlp.gate.weight"] == "a has no moe.router.weight"


def test_a_layer_that_lacks_one_experts_matrix_is_incomplete() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in state(0).items()}
    del shapes["model.layers.1.mlp.experts.2.up_proj.weight"]
    message = r"incomplete: layer 1 of 2 lacks moe\.expert\.2\.up\.weight$"
    with pytest.raises(AdammsError, match=message):
        model(shapes, "qwen3_moe", config=CONFIG)
    some = {name: shape for name, shape in shapes.items() if ".layers.0." not in name}
    with pytest.raises(AdammsError, match=r"layer 0 of 2 lacks attn\.k\.weight, .* and \d+ more$"):
        model(some, "qwen3_moe", config=CONFIG)


def test_the_only_dense_layer_has_the_attention_of_the_others() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in state(0).items() if "layers.0.mlp" not in name}
    shapes |= {f"model.layers.0.mlp.{p}_proj.weight": (6, HIDDEN) for p in ("gate", "up")}
    shapes["model.layers.0.mlp.down_proj.weight"] = (HIDDEN, 6)
    assert model(shapes, "qwen3_moe", config=CONFIG)
    del shapes["model.layers.0.input_layernorm.weight"]
    with pytest.raises(AdammsError, match=r"incomplete: layer 0 of 2 lacks norm\.attn\.weight$"):
        model(shapes, "qwen3_moe", config=CONFIG)


def test_an_expert_that_no_layer_has_is_missed() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in state(0).items() if ".experts.2." not in name}
    message = (
        r"incomplete: expert 2 of layer 0 lacks moe\.expert\.down\.weight, "
        r"moe\.expert\.gate\.weight, moe\.expert\.up\.weight$"
    )
    for architecture in ("qwen3_moe", "olmoe"):  # a spec, and one that is derived
        with pytest.raises(AdammsError, match=message):
            model(shapes, architecture, config=CONFIG)


def test_embeddings_of_every_layer_are_rows_of_tokens_too(tmp_path: Path) -> None:
    """Gemma 3n and 4 have such a table beside the embeddings."""
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        "language_model: {model.embed_tokens_per_layer.weight: embed_tokens_per_layer.weight}\n"
        "include: {qwen3_moe: {}}\n"
    )
    name = "model.embed_tokens_per_layer.weight"
    shapes = {each: tuple(tensor.shape) for each, tensor in state(0).items()}
    target, donor = (model(shapes | {name: (rows, 5)}, str(spec), config=CONFIG) for rows in (7, 9))
    plan = spec_mapper(embeddings="rows", embedding_rows=6).plan(target, {"a": donor})
    assert trees(plan)[name] == {"tokens": read(name), "rows": "0:6 -1"}
    assert kept(spec_mapper(embeddings="keep").plan(target, {"a": donor}))[name] == "mapper.embeddings=keep"
    assert "not both have a tokenizer" in kept(spec_mapper().plan(target, {"a": donor}))[name]
