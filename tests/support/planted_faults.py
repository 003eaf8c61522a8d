"""Donors with a planted fault, the plan by specs, and what verify_plan finds in it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mappers import spec_mapper
from safetensors.torch import load_file, save_file

from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.mapping.checks.distance import Distances
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.verify import verify_plan
from adamms.mapping.plan import Plan
from adamms.mapping.specs.model import describe

State = dict[str, torch.Tensor]


def layer(index: int, name: str) -> str:
    """A tensor's name in the donor."""
    return f"language_model.model.layers.{index}.{name}"


def permute_heads(state: State) -> None:
    """The first two of four query heads of one layer exchanged."""
    name = layer(1, "self_attn.q_proj.weight")
    q = state[name]
    state[name] = torch.cat([q[32:64], q[:32], q[64:]])


def swap_gate_and_up(state: State) -> None:
    gate, up = (layer(2, f"mlp.{which}_proj.weight") for which in ("gate", "up"))
    state[gate], state[up] = state[up], state[gate]


def make_random(state: State) -> None:
    """Other weights of the same sizes: normal ones with each tensor's mean and deviation."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        noise = torch.randn(tensor.shape, generator=generator)
        state[name] = tensor.mean() + tensor.std(correction=0) * noise


@dataclass(frozen=True)
class Fault:
    """A change of the donor's weights, and the target's tensors whose mapping it makes wrong."""

    change: Callable[[State], None]
    tensors: frozenset[str]


FAULTS = {
    "heads permuted": Fault(permute_heads, frozenset({"model.layers.1.self_attn.q_proj.weight"})),
    "gate for up": Fault(
        swap_gate_and_up,
        frozenset({f"model.layers.2.mlp.{which}_proj.weight" for which in ("gate", "up")}),
    ),
}


def with_donor(models: Path, folder: Path, change: Callable[[State], None]) -> dict[str, Path]:
    """The pair with a donor whose file was changed; the changed one lies in `folder`."""
    state = load_file(models / "donor/model.safetensors")
    change(state)
    folder.mkdir(exist_ok=True)
    save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_bytes((models / "donor/config.json").read_bytes())
    return {"target": models / "target", "donor": folder}


def planned(folders: dict[str, Path]) -> tuple[Plan, MappedModels]:
    """The plan by specs, and the models."""
    opened: dict[str, Checkpoint] = {name: open_checkpoint(folder) for name, folder in folders.items()}
    models = {name: describe(each, recognise(each.config, each.folder)) for name, each in opened.items()}
    plan = spec_mapper().plan(models["target"], {"a": models["donor"]}, models.get("ancestor"))
    return plan, MappedModels(opened["target"], {"a": opened["donor"]}, opened.get("ancestor"))


def verified(folders: dict[str, Path]) -> Distances:
    return verify_plan(*planned(folders))


def flagged(found: Distances) -> dict[str, str]:
    return {check.name: check.problem for check in found.tensors if check.problem}
