"""A recipe put in place gives, bit for bit, the model that the written checkpoint gives when it is loaded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from configured_engines import engine_without_processor
from safetensors.torch import load_file, save_file
from tiny import assert_same_bits
from tiny_merges import published
from tiny_types import relayout_experts, save_tiny
from twins import twin

from adamms.errors import AdammsError
from adamms.models.registration import load_model

Layout = Callable[[Path], Path]


def as_saved(folder: Path) -> Path:
    return folder


def transposed(folder: Path) -> Path:
    return relayout_experts(folder, fused=True, transposed=True)


@pytest.mark.parametrize(
    ("model_type", "layout"),
    [
        ("qwen3_vl_moe", as_saved),
        ("qwen3_vl_moe", transposed),  # as the hub's files are
        ("qwen3_5_moe", as_saved),  # linear attention; one tensor for each expert
        ("glm4v_moe", as_saved),
        ("kimi_k25", as_saved),  # the vision tower's rotary halves lie in another order in memory
        ("qwen2_5_vl", as_saved),
    ],
)
def test_there_and_back_as_the_written_checkpoints(model_type: str, layout: Layout, tmp_path: Path) -> None:
    target, donor = (
        layout(save_tiny(model_type, tmp_path / name, noise=i)) for i, name in enumerate(("target", "donor"))
    )
    engine = engine_without_processor(target)
    before = {name: tensor.clone() for name, tensor in engine.live.model.state_dict().items()}
    for alpha in (0.5, 0.0):
        merged = twin(target, donor, alpha)
        engine.load(merged)
        found = engine.live.model.state_dict()
        loaded = load_model(published(merged, tmp_path / str(alpha))).state_dict()
        assert found.keys() == loaded.keys()
        for name, tensor in loaded.items():
            assert_same_bits(found[name], tensor)
            if tensor.is_floating_point() and tensor.numel() > 1:
                assert torch.equal(tensor, before[name]) == (alpha == 0), name


def test_what_another_plan_had_merged_becomes_the_targets_again(tmp_path: Path) -> None:
    """As where the control's plan keeps tensors that the donor's merges."""
    folders = [save_tiny("qwen3", tmp_path / name, noise=i) for i, name in enumerate("ab")]
    engine = engine_without_processor(folders[0])
    engine.load(twin(*folders, 0.5))
    fewer = twin(*folders, 0.5)
    kept = tuple(replace(slot, donors={}, reason="kept") for slot in fewer.plan.slots[::2])
    plan = replace(fewer.plan, slots=(*kept, *fewer.plan.slots[1::2]))
    engine.load(fewer := replace(fewer, plan=plan))
    loaded = load_model(published(fewer, tmp_path / "out")).state_dict()
    for name, tensor in engine.live.model.state_dict().items():
        assert_same_bits(tensor, loaded[name])


def test_a_head_that_is_stored_beside_embeddings_it_is_tied_to_may_part_from_them(tmp_path: Path) -> None:
    """transformers ties the two in memory while they are equal, and not those of the merged files."""
    folders = [
        save_tiny("qwen3", tmp_path / name, noise=i, tie_word_embeddings=True) for i, name in enumerate("ab")
    ]
    for i, folder in enumerate(folders):
        file = folder / "model.safetensors"
        state = load_file(file)
        embeddings = state["model.embed_tokens.weight"]
        save_file(state | {"lm_head.weight": embeddings.clone() if i == 0 else -embeddings}, file)
    engine = engine_without_processor(folders[0])
    engine.load(merged := twin(*folders, 0.5))
    loaded = load_model(published(merged, tmp_path / "out")).state_dict()
    for name, tensor in engine.live.model.state_dict().items():
        assert_same_bits(tensor, loaded[name])
    assert not torch.equal(loaded["lm_head.weight"], loaded["model.embed_tokens.weight"])


def test_experts_are_views_of_the_parameter_in_which_they_are_stacked(tmp_path: Path) -> None:
    engine = engine_without_processor(save_tiny("qwen3_5_moe", tmp_path / "model"))
    weights, stacked = engine.live.weights, engine.live.model.state_dict()
    experts = "model.language_model.layers.0.mlp.experts"
    fused, down = stacked[f"{experts}.gate_up_proj"], stacked[f"{experts}.down_proj"]
    _, twice, _ = fused.shape
    for expert in range(len(fused)):
        for part, expected in (
            ("gate", fused[expert, : twice // 2]),
            ("up", fused[expert, twice // 2 :]),
            ("down", down[expert]),
        ):
            view = weights.views[f"{experts}.{expert}.{part}_proj.weight"]
            assert view.data_ptr() == expected.data_ptr()
            assert view.shape == expected.shape
    assert not weights.groups


def test_what_the_model_lacks_is_named_before_anything_is_written(tmp_path: Path) -> None:
    folders = [save_tiny("qwen3_5", tmp_path / name, noise=i) for i, name in enumerate("ab")]
    engine = engine_without_processor(folders[0])
    weights = engine.live.weights
    last = max(weights.stored)
    before = weights.views[min(weights.stored)].clone()
    for held in (weights.views, weights.stored):
        held.pop(last)
    with pytest.raises(AdammsError, match=rf"no parameter that is stored as '{last}'"):
        engine.load(twin(*folders, 0.5))
    assert torch.equal(weights.views[min(weights.stored)], before)
