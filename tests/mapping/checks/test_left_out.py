"""What a plan leaves out of a language model although the donor has it, and what it is right to leave out."""

from pathlib import Path

import tiny
import torch
from mappers import discover_mapper, spec_mapper
from relayout import hide, language, rest

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


def test_what_resembles_but_is_not_clear_is_left_out(kin: Path, tmp_path: Path) -> None:
    """Half of a matrix's rows are another matrix's: no mapping by whole tensors is right."""
    mine, theirs = language(kin / "target"), language(kin / "donor")
    name = "model.layers.1.mlp.up_proj.weight"
    order = torch.randperm(len(theirs[name]), generator=torch.Generator().manual_seed(0))
    order[:250] = torch.arange(250)
    tiny.write_state(mine, tmp_path / "target")
    tiny.write_state(theirs | {name: theirs[name][order]}, tmp_path / "donor")
    found, share = discovered(tmp_path)
    assert [(each.slot.name, each.resembles) for each in found] == [(name, name)]
    assert share > NEGLIGIBLE
    assert discovered(tmp_path, exclude_match=r"layers\.1\.mlp\.up") == ([], 0.0)


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
