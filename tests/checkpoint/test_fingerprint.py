"""Fingerprints: which changes they see, and digests that stored answers and recipes depend on."""

import json
from pathlib import Path

import tiny
import torch

from adamms.checkpoint.adapters.adapter import open_adapter
from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.checkpoint.reader import open_checkpoint

STATE: tiny.State = {
    "model.norm.weight": torch.tensor([1.0, -0.0, 3.0, 4.0], dtype=torch.bfloat16),
    "lm_head.weight": torch.arange(12, dtype=torch.float32).view(4, 3) / 7,
    "nothing": torch.empty(0, 3),
}


def fingerprint(state: tiny.State, folder: Path, shards: int = 1, torch_zip: bool = False) -> str:
    return open_checkpoint(tiny.write_state(state, folder, shards, torch_zip)).fingerprint


def test_the_digests_are_those_of_earlier_versions(tmp_path: Path) -> None:
    up, norm = "model.layers.0.mlp.up_proj", "model.norm.weight"
    large = torch.arange(64 * 128, dtype=torch.float32).view(64, 128) / 7
    base = tiny.write_state(
        {f"{up}.weight": large, norm: torch.ones(128, dtype=torch.bfloat16)}, tmp_path / "base"
    )
    for name, content in {
        "config.json": '{"model_type": "llama"}\n',
        "tokenizer.json": "{}\n",
        "tokenizer.model": "\0\1",
        "README.md": "not part of it",
        "LICENSE": "nor this",
    }.items():
        (base / name).write_text(content)
    adapter = tiny.write_state(
        {
            f"base_model.model.{up}.lora_A.weight": torch.arange(256.0).view(2, 128),
            f"base_model.model.{up}.lora_B.weight": torch.arange(128.0).view(64, 2),
            f"base_model.model.{norm}": torch.full((128,), 2.0),
        },
        tmp_path / "lora",
    )
    (adapter / "model.safetensors").rename(adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 3}))
    checkpoint = open_checkpoint(base)
    assert checkpoint.fingerprint == "45bb2bca837613dae9d3ab6f6d84687a"
    assert open_adapter(checkpoint, adapter).fingerprint == "ac83d40ee3828a0ecb71bb91b25fde0e"
    assert fingerprint_side_files(base) == "bd8b4e6edeb416c75eb0257998d3aa46"


def test_the_digest_is_of_content_whatever_folder_shards_or_format(tmp_path: Path) -> None:
    state = STATE | {"transposed": torch.arange(20.0).view(5, 4).T.contiguous()}
    prints = {
        fingerprint(state, tmp_path / f"{shards}{torch_zip}", shards, torch_zip)
        for shards in (1, 3)
        for torch_zip in (False, True)
    }
    strided = state | {"transposed": state["transposed"].T.contiguous().T}
    prints.add(fingerprint(strided, tmp_path / "strided", torch_zip=True))
    assert len(prints) == 1


def test_every_change_of_a_small_tensor_is_seen(tmp_path: Path) -> None:
    head, norm = STATE["lm_head.weight"], STATE["model.norm.weight"]
    changed = {
        "nothing": STATE,
        "value": STATE | {"lm_head.weight": head + 1e-6},
        "sign of zero": STATE | {"model.norm.weight": norm + 0.0},
        "dtype": STATE | {"model.norm.weight": norm.half()},
        "shape": STATE | {"lm_head.weight": head.reshape(3, 4)},
        "name": {name.replace(".", "_"): tensor for name, tensor in STATE.items()},
        "one tensor less": {name: tensor for name, tensor in STATE.items() if name != "nothing"},
    }
    prints = {fingerprint(state, tmp_path / change) for change, state in changed.items()}
    assert len(prints) == len(changed)


def test_a_change_at_the_start_middle_and_end_of_a_large_tensor_is_seen(tmp_path: Path) -> None:
    large = torch.zeros(30_000)
    prints = {fingerprint({"a": large}, tmp_path / "zero")}
    for place in (0, 15_000, 29_999):
        changed = large.clone()
        changed[place] = 1
        prints.add(fingerprint({"a": changed}, tmp_path / str(place)))
    assert len(prints) == 4
