"""Damaged adapters: the tensors are what the settings and factors that are there make, or it is told."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tiny
import torch
from damage import some_bytes
from fault import Fault, Wrong
from lora import write_adapter
from safetensors.torch import load_file, save_file

from adamms.checkpoint.adapters.adapter import declared_base, is_adapter, open_adapter
from adamms.checkpoint.reader import open_checkpoint

SHARE = 10
Damage = Callable[[Path, random.Random], None]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model.model.layers."
RANK, ALPHA = 2, 3.0


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    base = tiny.write_model(material / "base", tiny.llama_state(seed))
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        damage = DAMAGES[number % len(DAMAGES)]
        yield Fault(
            damage.__name__.replace("_", " "),
            lambda folder, rng=rng, damage=damage: trial(folder, base, rng, damage),
        )


def trial(folder: Path, base: Path, rng: random.Random, damage: Damage) -> None:
    place = folder / "adapter"
    values = torch.Generator().manual_seed(rng.randrange(1 << 30))
    tensors = {}
    for layer, module, out, width in ((0, "mlp.up_proj", 10, 6), (1, "self_attn.q_proj", 6, 6)):
        tensors[f"{PREFIX}{layer}.{module}.lora_A.weight"] = torch.randn(RANK, width, generator=values)
        tensors[f"{PREFIX}{layer}.{module}.lora_B.weight"] = torch.randn(out, RANK, generator=values)
    write_adapter(place, tensors, r=RANK, lora_alpha=ALPHA, base_model_name_or_path=str(base))
    damage(place, rng)
    if not is_adapter(place):
        raise Wrong("it is no adapter any more")
    declared_base(place)
    whole = open_checkpoint(base)
    adapted = open_adapter(whole, place)
    config, there = json.loads((place / CONFIG).read_text()), load_file(place / WEIGHTS)
    if config.get("rank_pattern") or config.get("alpha_pattern") or config.get("use_dora"):
        return
    for name in whole.tensors:
        expected = there.get(f"base_model.model.{name}", whole.read(name)).double()
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{key}A.weight" in there:
            down, up = (there[f"{key}{part}.weight"].double() for part in "AB")
            root = 0.5 if config.get("use_rslora") else 1.0
            expected = expected + config["lora_alpha"] / len(down) ** root * (up @ down)
        found = adapted.read(name)
        if not torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5, equal_nan=True):
            raise Wrong(f"the values of {name}")
    assert adapted.fingerprint


def bytes_of_the_config(folder: Path, rng: random.Random) -> None:
    (folder / CONFIG).write_bytes(some_bytes((folder / CONFIG).read_bytes(), rng))


def bytes_of_the_weights(folder: Path, rng: random.Random) -> None:
    (folder / WEIGHTS).write_bytes(some_bytes((folder / WEIGHTS).read_bytes(), rng))


def a_cut(folder: Path, rng: random.Random) -> None:
    file = folder / rng.choice([WEIGHTS, CONFIG])
    raw = file.read_bytes()
    file.write_bytes(raw[: rng.randrange(len(raw))])


def values_of_the_config(folder: Path, rng: random.Random) -> None:
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    for _ in range(rng.randint(1, 2)):
        config[
            rng.choice([*config, "r", "rank_pattern", "init_lora_weights", "layers_to_transform", "bias"])
        ] = rng.choice(VALUES)
    (folder / CONFIG).write_text(json.dumps(config))


def tensors(folder: Path, rng: random.Random) -> None:
    """Factors that are gone, doubled, renamed, of another shape, dtype or value."""
    state = load_file(folder / WEIGHTS)
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(sorted(state))
        match rng.randrange(7):
            case 0:
                del state[name]
            case 1:
                state[rng.choice(["x", PREFIX + "9.mlp.up_proj.lora_A.weight", name + ".x", name[5:]])] = (
                    state[name].clone()
                )
            case 2:
                state[name] = state[name].reshape(state[name].shape[::-1])
            case 3:
                state[name] = torch.zeros(rng.choice([(0, 0), (1,), (), (2, 2), (0, 6), (10, 0), (2, 6, 1)]))
            case 4:
                state[name] = state[name].to(
                    rng.choice([torch.int32, torch.float8_e4m3fn, torch.bool, torch.float64])
                )
            case 5:
                state[name].view(-1)[:1] = rng.choice([float("nan"), float("inf"), 3e38, 1e-45])
            case 6:
                layer = name.removesuffix("A.weight").removesuffix("B.weight")
                state[layer.removesuffix("lora_") + "weight"] = torch.ones(
                    rng.choice([(10, 6), (6, 6), (3,)])
                )
        if not state:
            break
    save_file(state, folder / WEIGHTS)


VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        2**63,
        10**30,
        1.5,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x",
        "LORA",
    ),
    *(
        [],
        [None],
        ["x"],
        {},
        {"a": 1},
        {"up_proj": 2},
        {"(": 2},
        {"q_proj": 0},
        {"q_proj": "2"},
        {"(.*)*!": 2},
        [[]],
        "\ud800",
    ),
)
DAMAGES: tuple[Damage, ...] = (
    bytes_of_the_config,
    bytes_of_the_weights,
    a_cut,
    values_of_the_config,
    tensors,
)
