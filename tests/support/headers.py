"""Models made of headers alone, and plans as plain trees, for the tests of the mapping."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from adamms.architectures.recognise import named, recognise
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.mapping.plan import Plan, Slot
from adamms.mapping.specs.model import Model, describe

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

Shapes = Mapping[str, tuple[int, ...]]
Tree = dict[str, Any]


def model(
    shapes: Shapes,
    architecture: str = "llama",
    folder: Path = Path("/no/such/folder"),
    config: Mapping[str, Any] | None = None,
    dtype: str = "F32",
) -> Model:
    """A model whose files do not exist."""
    file = folder / "model.safetensors"
    entries = {name: TensorEntry(name, shape, dtype, file, 0) for name, shape in sorted(shapes.items())}
    return describe(Checkpoint(folder, entries, config or {}), named(architecture, config or {}, folder))


@cache
def published(name: str) -> Model:
    """A published checkpoint of full size: names, shapes and dtypes of tests/fixtures/NAME.json."""
    content = json.loads((FIXTURES / f"{name}.json").read_text())
    folder = Path("/hub") / content["checkpoint"]
    entries = {}
    for pattern, layers, dtype, shape in content["tensors"]:
        for tensor in names(pattern, layers):
            entries[tensor] = TensorEntry(tensor, tuple(shape), dtype, folder / "model.safetensors", 0)
    checkpoint = Checkpoint(folder, dict(sorted(entries.items())), content["config"])
    return describe(checkpoint, recognise(content["config"], folder))


def names(pattern: str, layers: int | list[int]) -> list[str]:
    """The tensors of one line of a fixture: in so many layers (0: in none), or in the layers listed."""
    indices = layers if isinstance(layers, list) else range(layers or 1)
    return [pattern.replace("{i}", str(index)) for index in indices]


def trees(plan: Plan, donor: str = "a") -> dict[str, Tree]:
    """Target tensor -> the donor's expression as plan.json has it, for the merged tensors."""
    records = json.loads(json.dumps(plan.to_json()))["tensors"]
    return {record["name"]: record["donors"][donor] for record in records if record["action"] == "merge"}


def kept(plan: Plan) -> dict[str, str]:
    """Target tensor -> reason, for the kept ones."""
    return {slot.name: slot.reason for slot in plan.slots if not slot.merged}


def slot(plan: Plan, name: str) -> Slot:
    (found,) = [slot for slot in plan.slots if slot.name == name]
    return found


def read(name: str) -> Tree:
    return {"read": name}


def rows(source: Tree, start: int, stop: int) -> Tree:
    return {"slice": source, "dim": 0, "start": start, "stop": stop}


def cat(*parts: Tree) -> Tree:
    return {"concat": list(parts), "dim": 0}


def mean(*parts: Tree) -> Tree:
    return {"mean": list(parts)}
