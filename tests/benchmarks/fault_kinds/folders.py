"""Damaged folders: the index, config.json, links, names. What opens has every tensor with its own values."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tiny
import torch
from damage import check_values, some_bytes
from fault import Fault

from adamms.architectures.recognise import recognise
from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.side_files import copy_side_files
from adamms.mapping.specs.model import describe

SHARE = 20
# The whole folder, damaged in place.
Damage = Callable[[Path, random.Random], None]
INDEX = "model.safetensors.index.json"


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    state = tiny.llama_state(seed, dtype=torch.bfloat16)
    whole = material / "model"
    tiny.write_model(whole, state, shards=3)
    (whole / "config.json").write_text(json.dumps(CONFIG))
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        damage = DAMAGES[number % len(DAMAGES)]
        yield Fault(
            damage.__name__.replace("_", " "),
            lambda folder, rng=rng, damage=damage: trial(folder, whole, state, rng, damage),
        )


def trial(
    folder: Path, whole: Path, state: dict[str, torch.Tensor], rng: random.Random, damage: Damage
) -> None:
    """Damage a copy and open it: all tensors are there, or it is told what is wrong."""
    place = folder / "model"
    shutil.copytree(whole, place)
    damage(place, rng)
    checkpoint = open_checkpoint(place)
    check_values(checkpoint.tensors, state)
    assert checkpoint.fingerprint
    describe(checkpoint, recognise(checkpoint.config, place))
    fingerprint_side_files(place)
    copy_side_files(place, folder / "copy")


def rewritten(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def bytes_of_the_index(folder: Path, rng: random.Random) -> None:
    (folder / INDEX).write_bytes(some_bytes((folder / INDEX).read_bytes(), rng))


def bytes_of_the_config(folder: Path, rng: random.Random) -> None:
    (folder / "config.json").write_bytes(some_bytes((folder / "config.json").read_bytes(), rng))


def a_cut(folder: Path, rng: random.Random) -> None:
    file = rng.choice(sorted(folder.iterdir()))
    raw = file.read_bytes()
    file.write_bytes(raw[: rng.randrange(len(raw))])


def places_of_the_index(folder: Path, rng: random.Random) -> None:
    """Shards that are elsewhere, absent, of another kind, or another tensor's."""

    def change(index: dict[str, Any]) -> dict[str, Any]:
        places = index["weight_map"]
        shards = sorted(set(places.values()))
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(list(places))
            new = [
                "../x",
                "/etc/passwd",
                "..",
                "",
                ".",
                "a\0b",
                "a" * 300,
                "\ud800",
                "config.json",
                INDEX,
                "a/b",
            ]
            places[name] = rng.choice([*new, *shards, 3, None, [], {}, True, shards[0].upper()])
        return index

    rewritten(folder / INDEX, change)


def names_of_the_index(folder: Path, rng: random.Random) -> None:
    """Tensors that are left out, invented or renamed."""

    def change(index: dict[str, Any]) -> dict[str, Any]:
        places = index["weight_map"]
        for _ in range(rng.randint(1, 4)):
            name = rng.choice(list(places))
            shard = places.pop(name)
            if rng.random() < 0.5:
                places[rng.choice(["", "x", name.upper(), f"{name} ", "\ud800", "a" * 5000])] = shard
        return index

    rewritten(folder / INDEX, change)


def the_index_itself(folder: Path, rng: random.Random) -> None:
    values: list[Any] = [
        None,
        3,
        "x",
        [],
        [[]],
        {},
        {"weight_map": None},
        {"weight_map": []},
        {"weight_map": {}},
    ]
    values += [{"metadata": 3}, {"weight_map": {"a": "b"}}]
    text = rng.choice([*map(json.dumps, values), "", "{", "[" * 100_000, "NaN", '{"weight_map": ' * 50_000])
    (folder / INDEX).write_text(text)


def shards(folder: Path, rng: random.Random) -> None:
    """Shards that are gone, swapped, doubled, links to nothing, to themselves or to a folder, or pointers."""
    files = sorted(folder.glob("*.safetensors"))
    one, other = rng.sample(files, 2)
    match rng.randrange(9):
        case 0:
            one.unlink()
        case 1:
            raw = one.read_bytes()
            one.write_bytes(other.read_bytes())
            other.write_bytes(raw)
        case 2:
            shutil.copy(one, folder / "model.safetensors")
        case 3:
            one.unlink()
            one.symlink_to("nowhere")
        case 4:
            one.unlink()
            one.symlink_to(one.name)
        case 5:
            one.unlink()
            one.mkdir()
        case 6:
            one.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        case 7:
            one.unlink()
            one.symlink_to("/dev/zero")
        case 8:
            one.unlink()
            os.mkfifo(one)


def values_of_the_config(folder: Path, rng: random.Random) -> None:
    def change(config: dict[str, Any]) -> dict[str, Any]:
        for _ in range(rng.randint(1, 3)):
            key = rng.choice([*config, "text_config", "quantization_config", "auto_map", "mm_vision_tower"])
            config[key] = rng.choice(VALUES)
            if rng.random() < 0.2:
                config.pop(rng.choice(list(config)))
        return config

    rewritten(folder / "config.json", change)


def the_config_itself(folder: Path, rng: random.Random) -> None:
    text = rng.choice(
        ["", "{", "[]", "3", "null", "NaN", "{}", '{"a":' * 50_000, "[" * 100_000, '"x"', "\x00"]
    )
    (folder / "config.json").write_text(text)


CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 6,
    "intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "vocab_size": 7,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
}
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 1.5, 1e308, float("nan"), "", "x", "llama"),
    *(
        [],
        [None],
        [3],
        ["x"],
        ["LlamaForCausalLM", "X"],
        {},
        {"a": 1},
        [[[[]]]],
        {"": {}},
        "a" * 10_000,
        "\ud800",
    ),
    *({"quant_method": 3}, {"quant_method": ["x"]}, ["Qwen2VLForConditionalGeneration"], "../x", "a\0b"),
)
DAMAGES: tuple[Damage, ...] = (
    bytes_of_the_index,
    bytes_of_the_config,
    a_cut,
    places_of_the_index,
    names_of_the_index,
    the_index_itself,
    shards,
    values_of_the_config,
    the_config_itself,
)
