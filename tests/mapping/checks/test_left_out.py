"""What a plan leaves out of a language model although the donor has it, and what it is right to leave out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import stacked_models
import tiny
import torch
from mappers import discover_mapper, spec_mapper
from relayout import hide, language, rest
from safetensors.torch import load_file, save_file

from adamms.architectures.spec import load_architecture
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.mapping.checks.left_out import NEGLIGIBLE, LeftOut, left_out, share_left_out
from adamms.mapping.content.sketch import sketch_model
from adamms.mapping.plan import Plan, Slot
from adamms.mapping.specs.model import describe


def discovered(folder: Path, **options: object) -> tuple[list[LeftOut], float]:
    """What discover leaves out of folder/target with folder/donor as the donor, and its share."""
    target, donor = (sketch_model(open_checkpoint(folder / name)) for name in ("target", "donor"))
    return found_in(discover_mapper(**options).plan(target, {"a": donor}), donor.checkpoint)


def found_in(plan: Plan, donor: Checkpoint) -> tuple[list[LeftOut], float]:
    found = left_out(plan, {"a": donor})
    return found, share_left_out(plan, found)


FAMILIES = {
    "qwen3_vl_moe": (stacked_models.qwen3_vl_moe, "experts.gate_up_proj"),
    "llama4": (stacked_models.llama4, "experts.down_proj"),
    "gemma3n": (stacked_models.gemma3n, "model.embed_tokens_per_layer.weight"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_and_embeddings_of_layers_are_missed(family: str, tmp_path: Path) -> None:
    build, part = FAMILIES[family]
    stacked_models.save_kin(build, tmp_path / "target", tmp_path / "donor")
    found, share = discovered(tmp_path)
    assert share > NEGLIGIBLE
    (one, *_) = [each for each in found if part in each.slot.name]
    assert one.resembles == one.slot.name
    assert not any("visi" in each.slot.name or "visual" in each.slot.name for each in found)
    # ... and are not where they were left out on purpose.
    purpose = r"experts|per_layer|_norm|altup"
    assert discovered(tmp_path, exclude_match=purpose) == ([], 0.0)


def change(folder: Path, edit: Callable[[tiny.State], tiny.State]) -> None:
    state = edit(load_file(folder / "model.safetensors"))
    save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")


def transposed(state: tiny.State) -> tiny.State:
    """The other layout of stacked experts: that of the hub, or of transformers 5."""
    return {name: t.transpose(1, 2) if "experts." in name else t for name, t in state.items()}


def unstacked(state: tiny.State) -> tiny.State:
    """Every expert a tensor of its own."""
    done = {}
    for name, tensor in state.items():
        if "experts." not in name:
            done[name] = tensor
            continue
        for expert, weight in enumerate(tensor):
            done[name.replace("experts.", f"experts.{expert}.") + ".weight"] = weight
    return done


@pytest.mark.parametrize("layout", [transposed, unstacked])
def test_experts_in_another_layout_are_missed(
    layout: Callable[[tiny.State], tiny.State], tmp_path: Path
) -> None:
    """No weight resembles there: the place in the layer tells."""
    stacked_models.save_kin(stacked_models.qwen3_vl_moe, tmp_path / "target", tmp_path / "donor")
    change(tmp_path / "donor", layout)
    found, share = discovered(tmp_path)
    experts = {each.slot.name for each in found if ".experts." in each.slot.name}
    assert len(experts) == 4
    assert share > 0.4


def test_stacks_are_missed_whatever_the_names(kin: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    experts = torch.randn(4, 128, 48, generator=generator)
    for seed, name in enumerate(("target", "donor")):
        moved = experts + 0.1 * torch.randn(experts.shape, generator=generator)
        hide(language(kin / name) | {"experts": moved}, tmp_path / name, seed=seed)
    found, share = discovered(tmp_path)
    assert [each.slot.shape for each in found] == [(4, 128, 48)]
    assert share > NEGLIGIBLE


def test_a_wider_vision_tower_is_not_the_language_model(kin: Path, tmp_path: Path) -> None:
    """The tower has most of the parameters, so that discover takes its width for the language model's."""
    generator = torch.Generator().manual_seed(0)
    width = {f"model.vision_tower.layers.{i}.mlp.fc1.weight": torch.randn(2048, 256) for i in range(4)}
    for name in ("target", "donor"):
        tower = {key: t + 0.1 * torch.randn(t.shape, generator=generator) for key, t in width.items()}
        tiny.write_state(language(kin / name) | tower, tmp_path / name)
    found, share = discovered(tmp_path)
    assert {each.slot.name for each in found} >= {f"model.layers.{i}.mlp.up_proj.weight" for i in range(4)}
    assert share > 0.2


def test_a_vision_encoder_of_one_origin_is_left_out_rightly(kin: Path, tmp_path: Path) -> None:
    for hidden in (False, True):
        folder = tmp_path / str(hidden)
        for seed, name in enumerate(("target", "donor")):
            vision = {key: t for key, t in rest(kin / "target").items() if "merger" not in key}
            state = language(kin / name) | vision
            if hidden:
                hide(state, folder / name, seed=seed)
            else:
                tiny.write_state(state, folder / name)
        assert discovered(folder) == ([], 0.0)


# ---------------------------------------------------------------- by specs


def test_a_spec_that_calls_the_experts_something_else_leaves_them_out(tmp_path: Path) -> None:
    state = tiny.llama_state()
    del state["lm_head.weight"]
    for name in ("target", "donor"):
        tiny.write_model(tmp_path / name, state)
    spec = tmp_path / "mine.yaml"
    spec.write_text("include: {llama: {}}\nother: {not of the language model: 'model.layers.*.mlp.**'}\n")
    models = [
        describe(open_checkpoint(tmp_path / name), load_architecture(str(spec)))
        for name in ("target", "donor")
    ]
    found, share = found_in(spec_mapper().plan(models[0], {"a": models[1]}), models[1].checkpoint)
    assert {each.slot.name for each in found} == {name for name in state if ".mlp." in name}
    assert share > 0.3


def test_what_a_setting_or_the_method_keeps_is_left_out_on_purpose(tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "m", tiny.llama_state())
    model = describe(open_checkpoint(tmp_path / "m"), load_architecture("llama"))
    for options in ({"exclude": ["mlp"]}, {"match": "self_attn"}, {"layers": [0, 0]}, {"embeddings": "keep"}):
        plan = spec_mapper(**options).plan(model, {"a": model})
        assert found_in(plan, model.checkpoint) == ([], 0.0)
    reason = "the ancestor has no such tensor, which merge=ties needs"
    names = ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight")
    plan = spec_mapper().plan(model, {"a": model})
    slots = tuple(
        Slot(slot.name, slot.shape, slot.dtype, slot.role, reason=reason) if slot.name in names else slot
        for slot in plan.slots
    )
    unused = {"a": {"no tensor of the target takes it": names}}
    assert left_out(Plan("t", {"a": "d"}, slots, unused), {"a": model.checkpoint}) == []
