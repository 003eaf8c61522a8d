"""Folders: shards, indices, configs, and what is wrong with them."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError

STATE = {
    "model.embed_tokens.weight": torch.arange(12, dtype=torch.float16).reshape(4, 3),
    "model.norm.weight": torch.tensor([1.0, -0.0, 2.5], dtype=torch.bfloat16),
    "lm_head.weight": torch.arange(12, dtype=torch.float32).reshape(4, 3) / 7,
    "steps": torch.tensor(3),
    "nothing": torch.empty(0, 3),
}


def assert_holds(path: Path, state: tiny.State) -> None:
    checkpoint = open_checkpoint(path)
    assert list(checkpoint.tensors) == sorted(state)
    for name, tensor in state.items():
        found = checkpoint.read(name)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found, tensor)


@pytest.mark.parametrize("torch_zip", [False, True])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_single_and_sharded_folders_of_both_formats(shards: int, torch_zip: bool, tmp_path: Path) -> None:
    assert_holds(tiny.write_state(STATE, tmp_path / "a", shards, torch_zip), STATE)


@pytest.mark.parametrize("name", ["consolidated.00.pth", "weights.safetensors", "model.pt", "adapter.bin"])
def test_a_lone_weight_file_under_another_name_as_folder_and_as_path(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    save_file(STATE, file) if file.suffix == ".safetensors" else torch.save(STATE, file)
    for other in ("training_args.bin", "optimizer.bin", "rng_state_0.pth"):
        (tmp_path / other).write_bytes(b"not weights")
    assert_holds(tmp_path, STATE)
    assert_holds(file, STATE)
    assert open_checkpoint(file).folder == tmp_path


def test_a_lone_file_path_brings_the_config_beside_it(tmp_path: Path) -> None:
    tiny.write_model(tmp_path, STATE)
    assert open_checkpoint(tmp_path / "model.safetensors").config == {"architectures": ["LlamaForCausalLM"]}


def test_safetensors_are_preferred_to_torch_files_as_transformers_does(tmp_path: Path) -> None:
    tiny.write_state({"a": torch.zeros(2)}, tmp_path, torch_zip=True)
    tiny.write_state({"a": torch.ones(2)}, tmp_path)
    # An index of torch shards that were not downloaded does not matter either.
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert open_checkpoint(tmp_path).read("a").tolist() == [1, 1]


def test_a_real_checkpoint_reads_as_safetensors_and_transformers_read_it(qwen2_vl: Path) -> None:
    expected = load_file(qwen2_vl / "model.safetensors")
    assert_holds(qwen2_vl, expected)
    assert open_checkpoint(qwen2_vl).config["architectures"] == ["Qwen2VLForConditionalGeneration"]


def test_tied_heads_as_transformers_saves_them_have_no_head(tmp_path: Path) -> None:
    folder = tiny.save_qwen2(tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in open_checkpoint(folder).tensors


def test_tied_heads_of_a_torch_file_share_their_place(tmp_path: Path) -> None:
    table = torch.randn(4, 3)
    tiny.write_state({"embed": table, "head": table, "transposed": table.T}, tmp_path, torch_zip=True)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.tensors["embed"].offset == checkpoint.tensors["head"].offset
    assert torch.equal(checkpoint.read("transposed"), table.T)


def test_a_tensor_that_the_index_leaves_out_counts_all_the_same(tmp_path: Path) -> None:
    folder = tiny.write_state(STATE, tmp_path, shards=2)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["steps"]
    index.write_text(json.dumps(content))
    assert_holds(folder, STATE)


def test_shards_may_be_links_as_in_a_hub_cache(tmp_path: Path) -> None:
    tiny.write_state(STATE, tmp_path / "blobs", shards=2)
    (tmp_path / "snapshot").mkdir()
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert_holds(tmp_path / "snapshot", STATE)


# ---------------------------------------------------------------- what is wrong


def broken(folder: Path, case: str) -> None:
    """Two good shards, and then one thing wrong with them."""
    tiny.write_model(folder, STATE, shards=2)
    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    second = folder / "model-00002-of-00002.safetensors"
    elsewhere = folder.parent / "outside.safetensors"
    save_file({"steps": torch.tensor(3)}, elsewhere)
    new_maps: dict[str, object] = {
        "names a missing shard": weight_map | {"steps": "model-00003-of-00002.safetensors"},
        "names a shard outside": weight_map | {"steps": "../outside.safetensors"},
        "names an absolute path": weight_map | {"steps": str(elsewhere)},
        "names the parent": weight_map | {"steps": ".."},
        "names nothing": weight_map | {"steps": ""},
        "names a shard with a null byte": weight_map | {"steps": "a\0b"},
        "puts a tensor into the wrong shard": weight_map | {"steps": weight_map["nothing"]},
        "names a tensor that no shard has": weight_map | {"invented": second.name},
        "maps to a number": weight_map | {"steps": 3},
        "has a list for a map": list(weight_map),
        "has no map": None,
    }
    if case in new_maps:
        index.write_text(json.dumps({"weight_map": new_maps[case]}))
    elif case == "index is not JSON":
        index.write_text("{")
    elif case == "index is a list":
        index.write_text("[]")
    elif case == "index is nested too deeply":
        index.write_text("[" * 100_000)
    elif case == "shard is truncated":
        second.write_bytes(second.read_bytes()[:-1])
    elif case == "shard is empty":
        second.write_bytes(b"")
    elif case == "shard is gone":
        second.unlink()
    elif case == "config is not JSON":
        (folder / "config.json").write_text("{'architectures': []}")
    elif case == "config is not UTF-8":
        (folder / "config.json").write_bytes(b'{"a": "\xff"}')
    elif case == "config is a list":
        (folder / "config.json").write_text("[]")
    elif case == "class is a number":
        (folder / "config.json").write_text('{"architectures": 5}')
    elif case == "model type is a list":
        (folder / "config.json").write_text('{"architectures": ["A"], "model_type": ["a"]}')
    elif case == "shard is a folder":
        second.unlink()
        second.mkdir()
    elif case == "quantised":
        config = {"architectures": ["A"], "quantization_config": {"quant_method": "bitsandbytes"}}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        raise AssertionError(case)


BROKEN = {
    "names a missing shard": r"names 3 shards, and .*model lacks 'model-00003-of-00002\.safetensors'; ",
    "names a shard outside": r"names the shard '\.\./outside\.safetensors', which is outside the folder",
    "names an absolute path": r"names the shard '/.*', which is outside the folder",
    "names the parent": r"names the shard '\.\.', which is outside the folder",
    "names nothing": r"names the shard '', which is outside the folder",
    "names a shard with a null byte": r"lacks 'a\\x00b'",
    "puts a tensor into the wrong shard": r"index\.json: says '\w+' is in .*, which does not hold",
    "names a tensor that no shard has": r"says 'invented' is in model-00002-of-00002\.saf",
    "maps to a number": "expected an object 'weight_map'",
    "has a list for a map": "expected an object 'weight_map'",
    "has no map": "expected an object 'weight_map'",
    "index is not JSON": r"index\.json: not valid JSON",
    "index is a list": r"index\.json: expected a JSON object, found list",
    "index is nested too deeply": r"index\.json: not valid JSON",
    "shard is truncated": r"model-00002-of-00002\.safetensors: truncated",
    "shard is empty": r"model-00002-of-00002\.safetensors: truncated",
    "shard is gone": r"lacks 'model-00002-of-00002\.safetensors'",
    "config is not JSON": r"config\.json: not valid JSON",
    "config is not UTF-8": r"config\.json: not valid JSON",
    "config is a list": r"config\.json: expected a JSON object, found list",
    "class is a number": r"config\.json: architectures is 5; expected a list of class names",
    "model type is a list": r"config\.json: model_type is \[.a.\]; expected a text",
    "shard is a folder": r"model-00002-of-00002\.safetensors: not a file",
    "quantised": r"the checkpoint is quantised \(bitsandbytes\); read here are .* Give the model that it",
}


def test_a_broken_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    for i, case in enumerate(BROKEN):
        folder = tmp_path / str(i)
        folder.mkdir()
        broken(folder / "model", case)
        with pytest.raises(AdammsError, match=BROKEN[case]):
            open_checkpoint(folder / "model")


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "qwen2_vl_tuned").mkdir()
    with pytest.raises(AdammsError, match=r"no such folder or file\. Nearest: .*qwen2_vl_tuned\."):
        open_checkpoint(tmp_path / "qwen2-vl-tuned")


def test_a_missing_tensor_names_the_nearest(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.write_state(STATE, tmp_path))
    with pytest.raises(AdammsError, match=r"no tensor 'model\.norm\.weigth'\. Nearest: model\.norm\.weight"):
        checkpoint.read("model.norm.weigth")


def test_folders_without_weights_or_with_too_many(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"no weights; expected one of model\.safetensors"):
        open_checkpoint(tmp_path)
    for name in ("a", "b"):
        save_file({name: torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(AdammsError, match="2 weight files and no index"):
        open_checkpoint(tmp_path)


def test_weights_without_any_tensor(tmp_path: Path) -> None:
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(AdammsError, match="holds no tensors"):
        open_checkpoint(tmp_path)
