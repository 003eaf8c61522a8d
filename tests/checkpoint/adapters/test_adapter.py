"""Adapters that PEFT wrote, against float64 arithmetic and against PEFT's own merging."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import lora
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tiny import assert_same_bits

from adamms.checkpoint.adapters.adapted import BLOCK_ROWS, AdaptedCheckpoint
from adamms.checkpoint.adapters.adapter import declared_base, is_adapter, open_adapter
from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError

LAYERS = ["q_proj", "k_proj", "up_proj", "down_proj"]
PLAIN = {"r": 4, "lora_alpha": 6, "target_modules": LAYERS}
KINDS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "rank stabilised": PLAIN | {"use_rslora": True},
    "patterns": PLAIN
    | {
        "rank_pattern": {"layers.0.mlp.up_proj": 7, "q_proj": 2},
        "alpha_pattern": {r"layers\.1\.mlp\..*": 3, "k_proj": 5},
    },
    "vision and embeddings": PLAIN | {"target_modules": [*LAYERS, "qkv", "embed_tokens"]},
    "whole modules": PLAIN | {"modules_to_save": ["lm_head", "embed_tokens", "norm"]},
    "all biases": PLAIN | {"bias": "all"},
    "own biases": PLAIN | {"bias": "lora_only"},
    "dora": PLAIN | {"use_dora": True},
    "dora and whole": PLAIN | {"use_dora": True, "modules_to_save": ["lm_head"], "bias": "all"},
}


@pytest.fixture(scope="module")
def qwen2_vl_float(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2-VL in float32."""
    folder = tiny.save_qwen2_vl(tmp_path_factory.mktemp("float") / "model", seed=5)
    file = folder / "model.safetensors"
    noise = torch.Generator().manual_seed(0)
    state = {
        name: tensor.float() + 0.01 * torch.randn(tensor.shape, generator=noise)
        for name, tensor in load_file(file).items()
    }
    save_file(state, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"dtype": "float32"}
    config["text_config"] |= {"dtype": "float32"}
    config["vision_config"] |= {"dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def opened(base: Path, adapter: Path) -> AdaptedCheckpoint:
    return open_adapter(open_checkpoint(base), adapter)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_float64_arithmetic_rounded_once_to_the_bases_dtype(
    kind: str, qwen2_vl: Path, tmp_path: Path
) -> None:
    lora.save_adapter(qwen2_vl, tmp_path / "adapter", **KINDS[kind])
    base = load_file(qwen2_vl / "model.safetensors")
    expected = lora.rounded(lora.materialised(base, tmp_path / "adapter", lora.qwen2_vl_names), base)
    checkpoint = opened(qwen2_vl, tmp_path / "adapter")
    assert checkpoint.tensors.keys() == base.keys()
    changed = {name for name in base if not torch.equal(base[name], expected[name])}
    assert changed
    assert changed <= checkpoint.adapted
    for name, tensor in expected.items():
        # bfloat16: the last bits of two float64 sums in different orders are far below its rounding.
        assert_same_bits(checkpoint.read(name), tensor)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_pefts_own_merging_within_float32(
    kind: str, qwen2_vl_float: Path, tmp_path: Path
) -> None:
    merged = lora.save_adapter(qwen2_vl_float, tmp_path / "adapter", **KINDS[kind])
    checkpoint = opened(qwen2_vl_float, tmp_path / "adapter")
    base = load_file(qwen2_vl_float / "model.safetensors")
    exact = lora.materialised(base, tmp_path / "adapter", lora.qwen2_vl_names)
    theirs = {lora.qwen2_vl_names(name): tensor for name, tensor in merged.items()}
    assert theirs.keys() == base.keys()
    # PEFT sums a handful of float32 products (with DoRA also the 64 or 96 squares of a row), each step
    # rounded by 2**-24; the parts, of which no sum is larger than 3 here, may cancel.
    tolerance = 100 * 2**-24 * 3 if "dora" in kind else 10 * 2**-24 * 3
    for name, tensor in theirs.items():
        ours = checkpoint.read(name)
        assert ours.dtype == tensor.dtype == torch.float32
        np.testing.assert_allclose(ours.double().numpy(), exact[name], rtol=2**-23, atol=0, err_msg=name)
        np.testing.assert_allclose(ours.numpy(), tensor.numpy(), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("family", ["fresh", "hub", "qwen2"])
def test_modules_are_found_under_the_names_that_the_checkpoint_has(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The towers of LLaVA-OneVision have attention of the same names as the language model."""
    base = request.getfixturevalue("qwen2" if family == "qwen2" else f"onevision_{family}")
    modules = ["q_proj", "v_proj", "o_proj", "out_proj", "linear_1", "lm_head", "embed_tokens", "fc1"]
    lora.save_adapter(
        base, tmp_path / "adapter", r=3, target_modules=modules[:2] if family == "qwen2" else modules
    )
    state = load_file(base / "model.safetensors")

    def stored(name: str) -> str:
        if family == "qwen2":
            return name
        name = lora.onevision_names(name)
        return name.replace("vision_tower.", "vision_tower.vision_model.") if family == "hub" else name

    expected = lora.rounded(lora.materialised(state, tmp_path / "adapter", stored), state)
    checkpoint = opened(base, tmp_path / "adapter")
    for name, tensor in expected.items():
        assert_same_bits(checkpoint.read(name), tensor)
        assert (name in checkpoint.adapted) == (not torch.equal(state[name], tensor))


@pytest.mark.parametrize("name", [*families.BUILT, "phi3"])
def test_every_family_under_the_names_that_transformers_saves(name: str, tmp_path: Path) -> None:
    """LoRA on every linear layer, towers and projectors included: what PEFT merges and transformers saves."""
    make = families.save_language if name == "phi3" else families.save_family
    base = make(name, tmp_path / "base", 1)
    lora.save_adapter(
        base, tmp_path / "adapter", merged=tmp_path / "merged", r=2, target_modules="all-linear"
    )
    checkpoint = opened(base, tmp_path / "adapter")
    before, after = (load_file(f / "model.safetensors") for f in (base, tmp_path / "merged"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert checkpoint.adapted == changed
    assert len(changed) >= 8
    for tensor in changed:
        # As above: a few float32 sums of parts below 3.
        found, expected = checkpoint.read(tensor).numpy(), after[tensor].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * 2**-24 * 3, err_msg=tensor)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model.model.model.language_model.", "base_model.model.model."),  # before transformers 4.52
        ("base_model.model.model.language_model.", "base_model.model.language_model.model."),
        (".weight", ".default.weight"),
    ],
)
def test_older_spellings_of_the_names(old: str, new: str, qwen2_vl: Path, tmp_path: Path) -> None:
    lora.save_adapter(qwen2_vl, tmp_path / "adapter", **PLAIN)
    expected = opened(qwen2_vl, tmp_path / "adapter")
    values = {name: expected.read(name) for name in expected.adapted}
    edit_weights(
        tmp_path / "adapter",
        lambda state: {name.replace(old, new): tensor for name, tensor in state.items()},
    )
    found = opened(qwen2_vl, tmp_path / "adapter")
    assert found.adapted == expected.adapted
    for name, value in values.items():
        assert_same_bits(found.read(name), value)


def test_a_torch_file_in_half_precision(qwen2_vl: Path, tmp_path: Path) -> None:
    lora.save_adapter(qwen2_vl, tmp_path / "adapter", **PLAIN)
    file = tmp_path / "adapter/adapter_model.safetensors"
    halves = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(halves, file)
    expected = opened(qwen2_vl, tmp_path / "adapter")
    values = {name: expected.read(name) for name in expected.adapted}
    mark = expected.fingerprint
    file.unlink()
    torch.save(halves, file.with_suffix(".bin"))
    found = opened(qwen2_vl, tmp_path / "adapter")
    assert found.fingerprint == mark
    for name, value in values.items():
        assert_same_bits(found.read(name), value)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_do_not_depend_on_which_are_asked_for_nor_on_threads(threads: int, tmp_path: Path) -> None:
    """Float32 and a rank of 33: sums long enough for their last bits to depend on their order."""
    base = tiny.write_model(tmp_path / "base", tiny.llama_state(1, hidden=90, feed_forward=203))
    a, b = torch.randn(33, 90), torch.randn(203, 33)
    write_adapter(
        tmp_path / "adapter",
        {"up_proj.lora_A.weight": a, "up_proj.lora_B.weight": b, "up_proj.lora_magnitude_vector": b[:, 0]},
        r=33,
        use_dora=True,
    )
    checkpoint = opened(base, tmp_path / "adapter")
    name = "model.layers.1.mlp.up_proj.weight"
    whole = checkpoint.read(name)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = checkpoint.rows(name)
        assert (tuple(rows.shape), len(rows), rows.dtype) == ((203, 90), 203, torch.float32)
        for step in (1, 3, BLOCK_ROWS, 50, 203):
            pieces = [rows[start : start + step] for start in range(0, 203, step)]
            assert_same_bits(torch.cat(pieces), whole)
        assert rows[7:7].shape == (0, 90)
    finally:
        torch.set_num_threads(before)


def test_no_more_than_the_rows_asked_for_are_computed(tmp_path: Path) -> None:
    """A NaN in another block of rows is not met."""
    state = tiny.llama_state(1, feed_forward=64)
    base = tiny.write_model(tmp_path / "base", state)
    a, b = torch.randn(2, 6), torch.randn(64, 2)
    b[40] = torch.inf
    write_adapter(tmp_path / "adapter", {"up_proj.lora_A.weight": a, "up_proj.lora_B.weight": b})
    rows = opened(base, tmp_path / "adapter").rows("model.layers.1.mlp.up_proj.weight")
    assert torch.isfinite(rows[0:40]).all()
    with pytest.raises(AdammsError, match=r"lora_B.weight has 2 infinite or NaN values; so would model"):
        rows[40:41]


def test_a_value_that_the_dtype_cannot_hold_is_an_error(tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "base", tiny.llama_state(1, dtype=torch.float16))
    tensors = {"up_proj.lora_A.weight": torch.full((2, 6), 300.0), "up_proj.lora_B.weight": torch.ones(10, 2)}
    write_adapter(tmp_path / "adapter", {n: 30 * t for n, t in tensors.items()})
    with pytest.raises(AdammsError, match=r"up_proj\.weight that torch\.float16 cannot hold"):
        opened(base, tmp_path / "adapter").read("model.layers.1.mlp.up_proj.weight")


# ---------------------------------------------------------------- identity


def test_the_fingerprint_is_of_values_and_scale_not_of_places(qwen2_vl: Path, tmp_path: Path) -> None:
    lora.save_adapter(qwen2_vl, tmp_path / "a", **PLAIN)
    original = opened(qwen2_vl, tmp_path / "a").fingerprint
    assert original != open_checkpoint(qwen2_vl).fingerprint
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert opened(qwen2_vl, tmp_path / "b").fingerprint == original
    edit_config(tmp_path / "b", lora_alpha=7)
    assert opened(qwen2_vl, tmp_path / "b").fingerprint != original
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    edit_weights(tmp_path / "c", lambda state: state | {min(state): state[min(state)] + 1})
    assert opened(qwen2_vl, tmp_path / "c").fingerprint != original


def test_it_pickles_without_weights(qwen2_vl: Path, tmp_path: Path) -> None:
    lora.save_adapter(qwen2_vl, tmp_path / "adapter", **KINDS["dora and whole"])
    checkpoint = opened(qwen2_vl, tmp_path / "adapter")
    plain = len(pickle.dumps(checkpoint.base))
    assert len(pickle.dumps(checkpoint)) < 3 * plain
    copy = pickle.loads(pickle.dumps(checkpoint))
    name = "model.layers.0.mlp.up_proj.weight"
    assert_same_bits(copy.read(name), checkpoint.read(name))
    assert str(copy) == f"{qwen2_vl} with adapter {tmp_path / 'adapter'}"


def test_the_folder_says_its_base(qwen2: Path, tmp_path: Path) -> None:
    lora.save_adapter(qwen2, tmp_path / "adapter", **PLAIN)
    assert is_adapter(tmp_path / "adapter")
    assert not is_adapter(qwen2)
    assert declared_base(tmp_path / "adapter") == (str(qwen2), None)
    edit_config(tmp_path / "adapter", base_model_name_or_path="owner/base", revision="v2")
    assert declared_base(tmp_path / "adapter") == ("owner/base", "v2")
    edit_config(tmp_path / "adapter", base_model_name_or_path=None)
    with pytest.raises(AdammsError, match=r"names no base .*give path=BASE adapter="):
        declared_base(tmp_path / "adapter")
    with pytest.raises(AdammsError, match="holds a PEFT adapter, not a model"):
        open_checkpoint(tmp_path / "adapter")
    shutil.copy(qwen2 / "model.safetensors", tmp_path / "adapter")
    with pytest.raises(AdammsError, match=r"holds both a model and adapter_config\.json"):
        is_adapter(tmp_path / "adapter")


# ---------------------------------------------------------------- refused


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[tiny.State], tiny.State]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def write_adapter(folder: Path, tensors: tiny.State, r: int = 2, **settings: object) -> Path:
    """An adapter on the MLP of layer 1."""
    state = {
        name if name.startswith("base_model") else f"base_model.model.model.layers.1.mlp.{name}": tensor
        for name, tensor in tensors.items()
    }
    return lora.write_adapter(folder, state, r=r, lora_alpha=3, **settings)


A, B = torch.zeros(2, 6), torch.zeros(10, 2)
GOOD = {"up_proj.lora_A.weight": A, "up_proj.lora_B.weight": B}
BAD_SETTINGS: dict[str, tuple[dict[str, object], str]] = {
    "another kind": ({"peft_type": "IA3"}, "peft_type is 'IA3'; expected 'LORA'"),
    "fan in": ({"fan_in_fan_out": True}, "fan_in_fan_out=True changes the weights in a way"),
    "bias of B": ({"lora_bias": True}, "lora_bias=True changes the weights"),
    "tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices=[1] changes the weights"),
    "of the future": ({"use_next_idea": True}, "use_next_idea=True changes the weights"),
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' changed the base's weights"),
    "no rank": ({"r": None}, "r is None: Input should be a valid integer"),
    "alpha of 0": ({"lora_alpha": 0}, "lora_alpha is 0: Input should be greater than 0"),
    "bad pattern": ({"rank_pattern": {"up_proj": "x"}}, "rank_pattern.up_proj is 'x': Input should be"),
    "no pattern": ({"rank_pattern": [1]}, "rank_pattern is [1]: Input should be a valid dictionary"),
    "an expression without bounds": ({"rank_pattern": {"(.*)*!": 2}}, "'(.*)*!' repeats too much"),
    "many repetitions": ({"rank_pattern": {".*.*.*.*!": 2}}, "'.*.*.*.*!' repeats too much"),
    "no expression": ({"alpha_pattern": {"(": 1}}, "'(' is not a regular expression"),
    "another rank": ({"rank_pattern": {"up_proj": 3}}, "lora_A has rank 2, adapter_config.json says 3"),
}


def check_refused(folder: Path, tensors: tiny.State, settings: dict[str, Any], message: str) -> None:
    """An adapter of these tensors and settings is an error that says `message`, and names the adapter."""
    folder.mkdir()
    base = tiny.write_model(folder / "base", tiny.llama_state(1))
    write_adapter(folder / "adapter", tensors)
    edit_config(folder / "adapter", **settings)
    with pytest.raises(AdammsError, match=re.escape(message)) as caught:
        opened(base, folder / "adapter")
    assert str(folder / "adapter") in str(caught.value)


def test_settings_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    for i, (settings, message) in enumerate(BAD_SETTINGS.values()):
        check_refused(tmp_path / str(i), GOOD, settings, message)


BAD_TENSORS: dict[str, tuple[tiny.State, str]] = {
    "nothing": ({}, "holds no tensors"),
    "no B": ({"up_proj.lora_A.weight": A}, "up_proj: no lora_B; expected lora_A and lora_B"),
    "a stranger": (GOOD | {"up_proj.lora_C.weight": A}, "up_proj.lora_C.weight' has no meaning here"),
    "no prefix": ({"base_model.up_proj.weight": A}, "expected names that begin with base_model.model."),
    "no such module": (
        {"upp_proj.lora_A.weight": A, "upp_proj.lora_B.weight": B},
        "has no tensor for 'model.layers.1.mlp.upp_proj.weight'. Nearest: model.layers.1.mlp.up_proj.weight",
    ),
    "no such layer": (
        {f"base_model.model.model.layers.7.mlp.{name}": tensor for name, tensor in GOOD.items()},
        "has no tensor for 'model.layers.7.mlp.up_proj.weight'",
    ),
    "another width": (
        {"up_proj.lora_A.weight": torch.zeros(2, 5), "up_proj.lora_B.weight": B},
        "lora_A.weight has shape [2, 5]; model.layers.1.mlp.up_proj.weight of shape [10, 6] needs [2, 6]",
    ),
    "another height": (
        {"up_proj.lora_A.weight": A, "up_proj.lora_B.weight": torch.zeros(9, 2)},
        "lora_B.weight has shape [9, 2]; model.layers.1.mlp.up_proj.weight of shape [10, 6] needs [10, 2]",
    ),
    "a convolution": (
        {"up_proj.lora_A.weight": torch.zeros(2, 6, 1, 1), "up_proj.lora_B.weight": B},
        "lora_A.weight has shape [2, 6, 1, 1]; ",
    ),
    "an embedding's": (
        {"up_proj.lora_A.weight": A, "up_proj.lora_embedding_B": B},
        "lora_A beside lora_embedding_A; expected lora_embedding_A and lora_embedding_B",
    ),
    "magnitudes of another length": (
        GOOD | {"up_proj.lora_magnitude_vector": torch.ones(6)},
        "lora_magnitude_vector has shape [6]; ",
    ),
    "another whole width": ({"up_proj.weight": torch.zeros(10, 5)}, "up_proj.weight has shape [10, 5]; the"),
    "whole twice": (
        {"up_proj.weight": torch.zeros(10, 6), "up_proj.base_layer.weight": torch.zeros(10, 6)},
        "is there twice",
    ),
    "one tensor twice": (
        GOOD | {f"base_model.model.language_model.model.layers.1.mlp.{n}": t for n, t in GOOD.items()},
        "are both 'model.layers.1.mlp.up_proj.weight'",
    ),
    "two adapters": (GOOD | {"up_proj.lora_A.default.weight": A}, "is there twice"),
}


def test_every_tensor_is_used_or_an_error(tmp_path: Path) -> None:
    for i, (tensors, message) in enumerate(BAD_TENSORS.values()):
        check_refused(tmp_path / str(i), tensors, {}, message)


@pytest.mark.parametrize("prefix", ["base_model.model.", "model.", ""])
def test_what_llavas_training_leaves_beside_an_adapter(prefix: str, tmp_path: Path) -> None:
    """The projector, which the language model below does not have, and a norm that it has."""
    state = tiny.llama_state(1, dtype=torch.bfloat16)
    base = tiny.write_model(tmp_path / "base", state)
    write_adapter(tmp_path / "adapter", GOOD)
    beside = {"model.mm_projector.0.weight": torch.randn(4, 3), "model.norm.weight": torch.randn(6)}
    file = tmp_path / "adapter/non_lora_trainables.bin"
    torch.save({prefix + name: tensor for name, tensor in beside.items()}, file)
    checkpoint = opened(base, tmp_path / "adapter")
    assert list(checkpoint.tensors) == sorted([*state, "model.mm_projector.0.weight"])
    assert_same_bits(checkpoint.read("model.mm_projector.0.weight"), beside["model.mm_projector.0.weight"])
    assert_same_bits(checkpoint.read("model.norm.weight"), beside["model.norm.weight"].bfloat16())
    torch.save({"model.norm.weight": torch.randn(5)}, file)
    with pytest.raises(AdammsError, match=r"model\.norm\.weight has shape \[5\], the base's \[6\]"):
        opened(base, tmp_path / "adapter")
    torch.save({"model.layers.1.mlp.up_proj.weight": torch.randn(10, 6)}, file)
    with pytest.raises(AdammsError, match=r"adapter_model\.safetensors and non_lora_trainables\.bin both"):
        opened(base, tmp_path / "adapter")


def test_dora_on_an_embedding_is_refused(tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "base", tiny.llama_state(1))
    module = "base_model.model.model.embed_tokens."
    tensors = {"lora_embedding_A": (2, 7), "lora_embedding_B": (6, 2), "lora_magnitude_vector": (6,)}
    write_adapter(tmp_path / "adapter", {module + name: torch.ones(size) for name, size in tensors.items()})
    with pytest.raises(AdammsError, match="DoRA on an embedding is not supported"):
        opened(base, tmp_path / "adapter")


def test_what_is_no_adapter_or_has_no_weights(qwen2: Path, tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"no adapter_config\.json; expected the folder of a PEFT adapter"):
        opened(qwen2, qwen2)
    write_adapter(tmp_path / "adapter", GOOD)
    (tmp_path / "adapter/adapter_model.safetensors").unlink()
    with pytest.raises(AdammsError, match=r"no weights; expected adapter_model\.safetensors or adapter_m"):
        opened(qwen2, tmp_path / "adapter")


def test_a_base_in_integers_is_refused(tmp_path: Path) -> None:
    state = tiny.llama_state(1)
    name = "model.layers.1.mlp.up_proj.weight"
    base = tiny.write_model(tmp_path / "base", state | {name: state[name].to(torch.int8)})
    write_adapter(tmp_path / "adapter", GOOD)
    with pytest.raises(AdammsError, match=r"has dtype I8; expected one of F64, F32, F16, BF16"):
        opened(base, tmp_path / "adapter")
