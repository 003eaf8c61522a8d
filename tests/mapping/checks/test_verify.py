"""Planted faults are flagged and named, a right mapping is not; models really tuned from one ancestor."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted_faults import FAULTS, State, flagged, layer, planned, verified, with_donor
from relayout import fused, grouped, language
from safetensors.torch import load_file, save_file

from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.verify import verify_plan
from adamms.mapping.expression import Read, Slice, Tokens, names_in
from adamms.mapping.plan import Plan, Slot


def test_a_right_mapping_has_no_findings(kin: Path) -> None:
    found = verified({name: kin / name for name in ("target", "donor", "ancestor")})
    assert found.problems == []
    donors = [check for check in found.tensors if check.source == "a"]
    assert len(donors) == len(language(kin / "target"))
    for check in donors:
        assert check.cosine is not None
        assert check.cosine > 0.5
    by_name = {check.name: check for check in donors}
    one = by_name["model.layers.2.mlp.up_proj.weight"]
    t, d, a = (
        language(kin / which)["model.layers.2.mlp.up_proj.weight"].double()
        for which in ("target", "donor", "ancestor")
    )
    # A sample of a third of the rows: distances of fine-tuned rows vary by some percent.
    assert one.distance == pytest.approx(float((t - d).norm() / t.norm()), rel=0.1)
    assert one.target_moved == pytest.approx(float((t - a).norm() / a.norm()), rel=0.1)
    assert one.donor_moved == pytest.approx(float((d - a).norm() / a.norm()), rel=0.1)
    assert (one.role, one.layer) == ("mlp.up.weight", 2)


def test_small_tensors_are_read_whole(kin: Path) -> None:
    found = verified({"target": kin / "target", "donor": kin / "donor"})
    name = "model.layers.1.self_attn.k_proj.weight"
    (check,) = [check for check in found.tensors if check.name == name]
    t, d = (language(kin / which)[name].double() for which in ("target", "donor"))
    assert check.cosine == pytest.approx(float((t * d).sum() / (t.norm() * d.norm())), abs=1e-5)
    assert check.distance == pytest.approx(float((t - d).norm() / t.norm()), rel=1e-5)


def test_a_permutation_of_heads_is_flagged(kin: Path, tmp_path: Path) -> None:
    plant = FAULTS["heads permuted"]
    found = flagged(verified(with_donor(kin, tmp_path / "donor", plant.change)))
    assert set(found) == plant.tensors
    (message,) = found.values()
    name = layer(1, "self_attn.q_proj.weight")
    assert f"donor a's {name} holds its rows in another order (0:32 <- 32:64, 32:64 <- 0:32)" in message


def test_heads_permuted_throughout_are_flagged_in_rows_and_in_columns(kin: Path, tmp_path: Path) -> None:
    """An equivalent model whose heads were exchanged: it answers as before, and must not be merged so."""
    order = torch.cat([torch.arange(64, 128), torch.arange(0, 64)])
    values = torch.cat([torch.arange(32, 64), torch.arange(0, 32)])

    def permute(state: State) -> None:
        for i in range(4):
            for part in ("weight", "bias"):
                for which, rows in (("q", order), ("k", values), ("v", values)):
                    key = layer(i, f"self_attn.{which}_proj.{part}")
                    state[key] = state[key][rows]
            key = layer(i, "self_attn.o_proj.weight")
            state[key] = state[key][:, order]

    found = flagged(verified(with_donor(kin, tmp_path / "donor", permute)))
    expected = {f"model.layers.{i}.self_attn.{which}_proj.weight" for i in range(4) for which in "qkvo"}
    assert set(found) == expected
    assert "its columns in another order" in found["model.layers.2.self_attn.o_proj.weight"]
    assert "its rows in another order" in found["model.layers.2.self_attn.k_proj.weight"]


@pytest.mark.parametrize("swap", [(5, 40), (0, 63), (62, 63)])
def test_two_heads_of_64_are_seen_in_the_sample(tmp_path: Path, swap: tuple[int, int]) -> None:
    """At full size 128 of 4096 rows are read: two of each head of 64 rows."""
    generator = torch.Generator().manual_seed(0)
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(4)]
    state = {name: torch.randn(4096, 64, generator=generator) for name in names}
    moved = {name: t + 0.1 * torch.randn(t.shape, generator=generator) for name, t in state.items()}
    heads = list(moved[names[2]].split(64))
    heads[swap[0]], heads[swap[1]] = heads[swap[1]], heads[swap[0]]
    moved[names[2]] = torch.cat(heads)
    for folder, tensors in (("target", state), ("donor", moved)):
        (tmp_path / folder).mkdir()
        save_file(tensors, tmp_path / folder / "model.safetensors")
    target = open_checkpoint(tmp_path / "target")
    slots = tuple(Slot(name, (4096, 64), "F32", "", {"a": Read(name)}) for name in names)
    found = flagged(
        verify_plan(
            Plan("t", {"a": "d"}, slots), MappedModels(target, {"a": open_checkpoint(tmp_path / "donor")})
        )
    )
    assert list(found) == [names[2]]
    start, other = 64 * swap[0], 64 * swap[1]
    assert f"({start}:{start + 64} <- {other}:{other + 64}" in found[names[2]]


@pytest.mark.parametrize("layers", [(2,), (0, 1, 2, 3)])
def test_gate_for_up_is_flagged(kin: Path, tmp_path: Path, layers: tuple[int, ...]) -> None:
    def swap(state: State) -> None:
        for i in layers:
            gate, up = layer(i, "mlp.gate_proj.weight"), layer(i, "mlp.up_proj.weight")
            state[gate], state[up] = state[up], state[gate]

    found = flagged(verified(with_donor(kin, tmp_path / "donor", swap)))
    assert set(found) == {
        f"model.layers.{i}.mlp.{which}_proj.weight" for i in layers for which in ("gate", "up")
    }
    message = found["model.layers.2.mlp.gate_proj.weight"]
    assert message.startswith(
        "model.layers.2.mlp.gate_proj.weight resembles donor a's "
        "language_model.model.layers.2.mlp.up_proj.weight (0.9"
    )
    assert "not language_model.model.layers.2.mlp.gate_proj.weight (" in message


def test_exchanged_layers_are_flagged_norms_and_biases_too(kin: Path, tmp_path: Path) -> None:
    def swap(state: State) -> None:
        for name in [name for name in state if name.startswith(layer(1, ""))]:
            other = name.replace("layers.1.", "layers.2.")
            state[name], state[other] = state[other], state[name]

    found = flagged(verified(with_donor(kin, tmp_path / "donor", swap)))
    expected = {name for name in language(kin / "target") if ".layers.1." in name or ".layers.2." in name}
    assert set(found) == expected
    message = found["model.layers.1.input_layernorm.weight"]
    assert "resembles donor a's language_model.model.layers.2.input_layernorm.weight" in message


def test_a_donor_of_another_ancestor_is_flagged_as_a_whole(kin: Path, strangers: Path) -> None:
    found = verified({"target": kin / "target", "donor": strangers / "donor", "ancestor": kin / "ancestor"})
    assert set(found.strangers) == {"a"}
    (problem,) = found.problems
    assert problem.startswith(
        "donor a has another ancestor than the target: the median cosine of 30 matrices is"
    )
    found = verified({"target": kin / "target", "donor": kin / "donor", "ancestor": strangers / "ancestor"})
    (problem,) = found.problems
    assert problem.startswith("the ancestor has another ancestor than")


def test_a_part_of_a_fused_tensor_is_named(kin: Path, tmp_path: Path) -> None:
    """The order of a fused tensor read wrongly: k and v exchanged where q, k and v lie in one."""
    plan, values = planned({"target": kin / "target", "donor": kin / "donor"})
    state = fused(language(kin / "donor"))
    (tmp_path / "donor").mkdir()
    save_file(state, tmp_path / "donor/model.safetensors")
    places = {"q": (0, 128), "k": (192, 256), "v": (128, 192)}  # k and v are not there
    slots = []
    for slot in plan.slots:
        for which, (start, stop) in places.items():
            if f".self_attn.{which}_proj.weight" in slot.name and slot.merged:
                read = Read(slot.name.replace(f"{which}_proj", "qkv_proj"))
                slots.append(replace(slot, donors={"a": Slice(read, 0, start, stop)}))
    donors = {"a": open_checkpoint(tmp_path / "donor")}
    found = flagged(verify_plan(replace(plan, slots=tuple(slots)), replace(values, donors=donors)))
    assert {name.split(".")[4] for name in found} == {"k_proj", "v_proj"}
    assert len(found) == 8


def test_a_grouped_tensor_that_is_read_as_one_after_the_other_is_flagged(kin: Path, tmp_path: Path) -> None:
    plan, _ = planned({"target": kin / "target", "donor": kin / "donor"})
    (tmp_path / "donor").mkdir()
    save_file(grouped(language(kin / "donor")), tmp_path / "donor/model.safetensors")
    (tmp_path / "target").mkdir()
    save_file(fused(language(kin / "target")), tmp_path / "target/model.safetensors")
    target = open_checkpoint(tmp_path / "target")
    slots = []
    for slot in plan.slots:
        if ".self_attn.q_proj.weight" in slot.name and slot.merged:
            name = slot.name.replace("q_proj", "qkv_proj")
            read = Read(slot.name.replace("q_proj", "wqkv"))
            slots.append(replace(slot, name=name, shape=target.tensors[name].shape, donors={"a": read}))
        elif ".mlp.down" in slot.name and slot.merged:
            slots.append(replace(slot, donors={"a": Read(slot.name)}))
    found = verify_plan(
        replace(plan, slots=tuple(slots)), MappedModels(target, {"a": open_checkpoint(tmp_path / "donor")})
    )
    assert set(flagged(found)) == {f"model.layers.{i}.self_attn.qkv_proj.weight" for i in range(4)}
    assert "in another order (64:128 <- 128:192" in flagged(found)["model.layers.0.self_attn.qkv_proj.weight"]


def test_token_rows_that_the_donor_lacks_do_not_count(kin: Path, tmp_path: Path) -> None:
    def lengthen(state: State) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor = state[f"language_model.{name}"]
            state[f"language_model.{name}"] = tensor[:-20].clone()

    folders = with_donor(kin, tmp_path / "donor", lengthen)
    plan, values = planned(folders)
    rows = load_file(folders["target"] / "model.safetensors")["lm_head.weight"].shape[0]
    aligned = tuple(range(rows - 20)) + (-1,) * 20
    slots = []
    for slot in plan.slots:
        if slot.name in ("model.embed_tokens.weight", "lm_head.weight"):
            slot = replace(
                slot, donors={"a": Tokens(Read(f"language_model.{slot.name}"), aligned)}, reason=""
            )
        slots.append(slot)
    found = verify_plan(replace(plan, slots=tuple(slots)), values)
    assert found.problems == []
    (check,) = [check for check in found.tensors if check.name == "lm_head.weight"]
    t, d = language(kin / "target")["lm_head.weight"], language(kin / "donor")["lm_head.weight"]
    exact = float(((t - d)[: rows - 20]).norm() / t[: rows - 20].norm())
    assert check.distance == pytest.approx(exact, rel=1e-4)


def test_says_which_tensors_it_read(kin: Path) -> None:
    plan, values = planned({"target": kin / "target", "donor": kin / "donor"})
    done: list[int] = []
    found = verify_plan(plan, values, done.append, workers=1)
    merged = [slot for slot in plan.slots if slot.merged]
    assert sum(done) == len(merged)
    assert [check.name for check in found.tensors] == [slot.name for slot in merged]
    assert {name for slot in merged for name in names_in(slot.donors["a"])}
    assert verify_plan(plan, values, workers=4).to_json() == found.to_json()
