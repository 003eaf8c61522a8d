"""Today's families: what discovery finds is what their architectures say, in every layout of the files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_configs
import tiny_types
import torch
from hidden_names import quiet, sketched
from mappers import discover_mapper, spec_mapper
from safetensors.torch import load_file, save_file

from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.checks.left_out import left_out
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.row_order import in_another_order
from adamms.mapping.content.orders import RowOrder
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.expression import Interleave, Read
from adamms.mapping.plan import Plan

State = dict[str, torch.Tensor]
ORDER = [2, 0, 3, 1]  # of four experts


def save(
    model_type: str, folder: Path, noise: int, *changes: Callable[[State], State], **text: object
) -> None:
    """A tiny model of the one ancestor, its files changed; A_log, which its class draws at random, too."""
    tiny_types.save_tiny(model_type, folder, noise=noise, **text)
    state = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(noise)
    for name, tensor in state.items():
        if name.endswith("A_log"):
            state[name] = torch.arange(len(tensor)) + 1 + 0.1 * torch.randn(len(tensor), generator=generator)
    for change in changes:
        state = change(state)
    save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")


def discovered(folder: Path) -> Plan:
    """The plan of folder/target <- folder/donor; every merged value resembles, and nothing is left out."""
    target, donor = (sketched(folder / name) for name in ("target", "donor"))
    plan = discover_mapper().plan(target, {"a": donor})
    assert left_out(plan, {"a": donor.checkpoint}) == []
    mine, theirs = (load_file(folder / name / "model.safetensors") for name in ("target", "donor"))
    for slot in plan.slots:
        if slot.merged:
            value = evaluate_rows(slot.donors["a"], theirs, 0, slot.shape[0], mine[slot.name]).double()
            away = (value - mine[slot.name]).norm() / mine[slot.name].norm()
            assert away < 0.3, slot
    return plan


def specified(folder: Path) -> Plan:
    """The same by the architectures of the two."""
    mapper = spec_mapper()
    target, donor = (mapper.describe(open_checkpoint(folder / n), None, quiet) for n in ("target", "donor"))  # type: ignore[arg-type]
    return mapper.plan(target, {"a": donor})


def models(folder: Path) -> MappedModels:
    return MappedModels(open_checkpoint(folder / "target"), {"a": open_checkpoint(folder / "donor")})


def same(plan: Plan, other: Plan) -> None:
    found = {slot.name: dict(slot.donors) for slot in plan.slots}
    assert found == {slot.name: dict(slot.donors) for slot in other.slots}


def transposed(state: State) -> State:
    """The hub's layout of the stacked experts of Qwen3-VL-MoE."""
    return {name: t.transpose(1, 2) if "experts." in name else t for name, t in state.items()}


def reordered(state: State) -> State:
    """The same model with its experts in another order."""
    done: State = {}
    for name, tensor in state.items():
        before, per_expert, after = name.partition(".experts.")
        if name.endswith("mlp.gate.weight") or (per_expert and tensor.dim() == 3):
            done[name] = tensor[ORDER]
        elif per_expert:
            number, _, local = after.partition(".")
            done[f"{before}.experts.{ORDER.index(int(number))}.{local}"] = tensor
        else:
            done[name] = tensor
    return done


def interleaved(state: State) -> State:
    """Queries and keys as a rotary embedding has them that turns neighbours."""
    order = RowOrder(tiny_configs.HEAD_DIM, 2)
    return {
        name: order.applied(t) if ".q_proj." in name or ".k_proj." in name else t for name, t in state.items()
    }


PAIRS: dict[str, tuple[str, str, dict[str, object]]] = {
    "fused, per expert": ("qwen3_vl_moe", "qwen3_moe", {}),
    "linear attention": ("qwen3_5", "qwen3_5_text", {}),
    "linear attention and experts": ("qwen3_5_moe", "qwen3_5_moe_text", {}),
    "short convolutions": ("lfm2_vl", "lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    "embeddings of layers": ("gemma3n_text", "gemma3n_text", {}),
    "stacked as memory is not": ("llama4", "llama4_text", {}),
    "dense layers, then experts": ("glm4v_moe", "glm4_moe", {}),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_plan_is_that_of_the_architectures(tmp_path: Path, pair: str) -> None:
    target, donor, text = PAIRS[pair]
    save(target, tmp_path / "target", 1, **text)
    save(donor, tmp_path / "donor", 2, **text)
    same(discovered(tmp_path), specified(tmp_path))


@pytest.mark.parametrize(
    ("target", "donor"),
    [
        (("qwen3_vl_moe", transposed), ("qwen3_moe",)),
        (("qwen3_vl_moe", transposed), ("qwen3_vl_moe",)),
        (("qwen3_vl_moe",), ("qwen3_vl_moe", transposed)),
        (("qwen3_moe",), ("qwen3_vl_moe", transposed)),
        (("qwen3_moe",), ("qwen3_vl_moe",)),
    ],
)
def test_experts_in_any_layout(
    tmp_path: Path,
    target: tuple[Any, ...],
    donor: tuple[Any, ...],
) -> None:
    save(target[0], tmp_path / "target", 1, *target[1:])
    save(donor[0], tmp_path / "donor", 2, *donor[1:])
    same(discovered(tmp_path), specified(tmp_path))


@pytest.mark.parametrize("target", ["qwen3_vl_moe", "qwen3_moe"])
@pytest.mark.parametrize("donor", ["qwen3_vl_moe", "qwen3_moe"])
def test_experts_in_another_order_are_put_in_order_and_told(tmp_path: Path, target: str, donor: str) -> None:
    save(target, tmp_path / "target", 1)
    save(donor, tmp_path / "donor", 2)
    merged = {slot.name for slot in discovered(tmp_path).slots if slot.merged}
    assert in_another_order(specified(tmp_path), models(tmp_path)) == {}
    save(donor, tmp_path / "donor", 2, reordered)
    told = "its experts lie in another order (3 of 3 routers sampled)"
    assert in_another_order(specified(tmp_path), models(tmp_path)) == {"a": told}
    plan = discovered(tmp_path)
    assert {slot.name for slot in plan.slots if slot.merged} == merged
    (order,) = [row.other for row in plan.differences if row.what == "order of experts"]
    assert order.startswith("3 layers, put in order with their router; in ")
    assert "layers.0 0 <- 1" in order


def test_rotary_neighbours_are_brought_into_halves(tmp_path: Path) -> None:
    """ERNIE-4.5 turns neighbouring rows, PaddleOCR-VL the halves of a head: the same names and shapes."""
    save("paddleocr_vl", tmp_path / "target", 1)
    save("ernie4_5", tmp_path / "donor", 2, interleaved)
    plan = discovered(tmp_path)
    q = "self_attn.q_proj.weight"
    (slot,) = [slot for slot in plan.slots if slot.name == f"model.layers.0.{q}"]
    assert slot.donors == {"a": Interleave(Read(f"model.layers.0.{q}"), 32, 16)}
    (order,) = [row.other for row in plan.differences if row.what == "order of rows"]
    assert order == (
        "rotary neighbours in heads of 32 rows, where the target has halves: 8 tensors, put in order"
    )


def test_vectors_with_nothing_to_tell_them_apart_go_by_their_place(tmp_path: Path) -> None:
    """Norms that are all ones, as at the start; A_log and dt_bias have four numbers a layer."""

    def ones(state: State) -> State:
        return {n: torch.ones_like(t) if "norm" in n and t.dim() == 1 else t for n, t in state.items()}

    save("qwen3_5", tmp_path / "target", 1, ones)
    save("qwen3_5_text", tmp_path / "donor", 2, ones)
    plan = discovered(tmp_path)
    same(plan, specified(tmp_path))
    finding = plan.findings["model.language_model.layers.0.input_layernorm.weight"]["a"]
    assert finding.note == "by its name within the layer"


@pytest.mark.parametrize(
    ("tower", "both"), [("model.visual.blocks", False), ("model.visual.blocks", True), ("eyes", False)]
)
def test_a_vision_tower_that_is_wider_and_deeper_is_not_the_language_model(
    tmp_path: Path, tower: str, both: bool
) -> None:
    """With most of the parameters, and perhaps of one origin in both."""
    generator = torch.Generator().manual_seed(0)
    names = [f"{tower}.{i}.mlp.fc1.weight" for i in range(6)]
    ancestor = {name: torch.randn(1024, 256, generator=generator) for name in names}

    def seeing(state: State) -> State:
        moved = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in ancestor.items()}
        return state | moved

    save("qwen3", tmp_path / "target", 1, seeing)
    save("qwen3", tmp_path / "donor", 2, *([seeing] if both else []))
    plan = discovered(tmp_path)
    assert {slot.name for slot in plan.slots if not slot.merged} == {*names}
