"""Quantised checkpoints against what the formats' own code reads: transformers' and compressed-tensors'."""

import json
from pathlib import Path
from typing import Any

import pytest
import quantisers
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import assert_same_bits

from adamms.checkpoint.quantised.quantised import QuantisedEntry, rows_of
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.errors import AdammsError

SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "fp8 by tensor": ("FP8", {}),
    "fp8 by row": ("FP8_DYNAMIC", {}),
    "fp8 by block, cut": ("FP8_BLOCK", {"block_structure": [40, 24]}),
    "int8 by row": ("W8A8", {}),
    "int8 by row, asymmetric": ("W8A8", {"symmetric": False}),
    "int8 by group, packed": ("W8A16", {"group_size": 32}),
    "int4 by group": ("W4A16", {"group_size": 32}),
    "int4 by group, asymmetric": ("W4A16_ASYM", {"group_size": 16}),
    "int4 by group, in another order": ("W4A16_ASYM", {"group_size": 32, "actorder": "group"}),
    "int4 by row": ("W4A16", {"group_size": None, "strategy": "channel"}),
    "int3 by row, asymmetric": ("W4A16_ASYM", {"num_bits": 3, "group_size": None, "strategy": "channel"}),
}


def matrix(rows: int = 56, columns: int = 96, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).to(dtype)


def opened(folder: Path, state: tiny.State, said: object) -> Checkpoint:
    tiny.write_state(state, folder)
    (folder / "config.json").write_text(json.dumps({"quantization_config": said}))
    return open_checkpoint(folder)


def local(parts: tiny.State) -> tiny.State:
    return {f"up.{name}": tensor.clone() for name, tensor in parts.items()}


def compressed_opened(folder: Path, parts: tiny.State, scheme: Any) -> Checkpoint:
    said = {
        "quant_method": "compressed-tensors",
        "config_groups": {"a": json.loads(scheme.model_dump_json())},
    }
    return opened(folder, local(parts), said)


@pytest.mark.parametrize("kind", SCHEMES)
def test_compressed_tensors_are_read_as_the_library_reads_them(kind: str, tmp_path: Path) -> None:
    preset, changes = SCHEMES[kind]
    scheme = quantisers.scheme_of(preset, **changes)
    stored, expected = quantisers.compressed(matrix(), scheme)
    checkpoint = compressed_opened(tmp_path, stored, scheme)
    assert list(checkpoint.tensors) == ["up.weight"]
    assert_same_bits(checkpoint.read("up.weight"), expected.bfloat16())
    assert "compressed-tensors: 1 tensors read as BF16" in checkpoint.dequantised


def test_columns_that_do_not_fill_the_last_integer(tmp_path: Path) -> None:
    scheme = quantisers.scheme_of("W4A16", group_size=None, strategy="channel")
    stored, expected = quantisers.compressed(matrix(columns=53), scheme)
    assert stored["weight_packed"].shape == (56, 7)
    assert_same_bits(compressed_opened(tmp_path, stored, scheme).read("up.weight"), expected)


def test_half_precision_stays(tmp_path: Path) -> None:
    """Scales in float16: bfloat16 would round the values a second time."""
    scheme = quantisers.scheme_of("W4A16_ASYM", group_size=32)
    stored, expected = quantisers.compressed(matrix(dtype=torch.float16), scheme)
    checkpoint = compressed_opened(tmp_path, stored, scheme)
    assert checkpoint.tensors["up.weight"].dtype == "F16"
    assert_same_bits(checkpoint.read("up.weight"), expected)


@pytest.mark.parametrize("preset", ["NVFP4", "MXFP4"])
def test_four_bit_floats_are_read_as_the_library_reads_them(preset: str, tmp_path: Path) -> None:
    scheme = quantisers.scheme_of(preset)
    from compressed_tensors.compressors import BaseCompressor

    stored = quantisers.random_fp4((56, 96), scheme.weights.group_size)
    compressor = BaseCompressor.get_value_from_registry(f"{preset.lower()}-pack-quantized")
    expected = compressor.decompress(stored, scheme)["weight"]
    checkpoint = compressed_opened(tmp_path, stored | {"input_global_scale": torch.ones(1)}, scheme)
    assert list(checkpoint.tensors) == ["up.weight"]
    assert_same_bits(checkpoint.read("up.weight"), expected)


def test_mxfp8_scales_are_exponents(tmp_path: Path) -> None:
    codes = matrix().to(torch.float8_e4m3fn)
    exponents = quantisers.random_fp4((56, 96), 32)["weight_scale"]
    scheme, stored = quantisers.scheme_of("MXFP8"), {"weight": codes, "weight_scale": exponents}
    from compressed_tensors.compressors import BaseCompressor

    expected = BaseCompressor.get_value_from_registry("mxfp8-quantized").decompress(stored, scheme)["weight"]
    assert_same_bits(compressed_opened(tmp_path, stored, scheme).read("up.weight"), expected)


@pytest.mark.parametrize("block", [(14, 32), (128, 128), (40, 28)])
def test_block_fp8_is_read_as_transformers_reads_it(block: tuple[int, int], tmp_path: Path) -> None:
    codes, scale = quantisers.fp8(matrix(), block)
    said = {"quant_method": "fp8", "weight_block_size": list(block)}
    extra = {"up.input_scale": torch.ones(()), "k_scale": torch.ones(1), "up.bias": torch.ones(3)}
    state = {"up.weight": codes, "up.weight_scale_inv": scale, **extra}
    checkpoint = opened(tmp_path, state, said)
    assert list(checkpoint.tensors) == ["up.bias", "up.weight"]
    assert "quantization_config" not in checkpoint.config
    assert_same_bits(checkpoint.read("up.weight"), quantisers.fp8_values(codes, scale, block))


@pytest.mark.parametrize("shape", [(), (1,), (56, 1), (56,)])
def test_fp8_with_one_scale_for_all_or_for_a_row(shape: tuple[int, ...], tmp_path: Path) -> None:
    codes = matrix().to(torch.float8_e4m3fn)
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
    state = {"up.weight": codes, "up.weight_scale": scale}
    checkpoint = opened(tmp_path, state, {"quant_method": "fp8", "activation_scheme": "static"})
    expected = (codes.float() * (scale.reshape(-1, 1) if scale.dim() else scale)).bfloat16()
    assert_same_bits(checkpoint.read("up.weight"), expected)


def test_experts_in_one_tensor(tmp_path: Path) -> None:
    block, experts = (16, 32), torch.stack([matrix(), matrix() * 3, -matrix()])
    pairs = [quantisers.fp8(expert, block) for expert in experts]
    codes, scales = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    state = {"experts.gate_up_proj": codes, "experts.gate_up_proj_scale_inv": scales}
    checkpoint = opened(tmp_path, state, {"quant_method": "fp8", "weight_block_size": list(block)})
    expected = torch.stack([quantisers.fp8_values(*pair, block) for pair in pairs])
    assert_same_bits(checkpoint.read("experts.gate_up_proj"), expected)
    assert_same_bits(checkpoint.rows("experts.gate_up_proj")[1:2], expected[1:2])


def test_mxfp4_is_read_as_transformers_reads_gpt_oss(tmp_path: Path) -> None:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    noise = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (3, 24, 2, 16), generator=noise, dtype=torch.uint8)
    scales = torch.randint(110, 130, (3, 24, 2), generator=noise, dtype=torch.uint8)
    state = {"mlp.experts.down_proj_blocks": blocks, "mlp.experts.down_proj_scales": scales}
    checkpoint = opened(tmp_path, state, {"quant_method": "mxfp4"})
    assert checkpoint.tensors["mlp.experts.down_proj"].shape == (3, 64, 24)
    expected = convert_moe_packed_tensors(blocks, scales)
    assert_same_bits(checkpoint.read("mlp.experts.down_proj"), expected)


def test_scales_in_another_file_and_modules_that_were_not_converted(qwen2: Path, tmp_path: Path) -> None:
    values = quantisers.fp8_copy(qwen2, tmp_path / "model", shards=3)
    checkpoint = open_checkpoint(tmp_path / "model")
    quantised = [entry for entry in checkpoint.tensors.values() if isinstance(entry, QuantisedEntry)]
    assert any(len({part.file for part in entry.parts}) > 1 for entry in quantised)
    assert checkpoint.tensors.keys() == values.keys()
    for name, tensor in values.items():
        assert checkpoint.computes(name) == name.endswith("proj.weight")
        assert_same_bits(checkpoint.read(name), tensor)


@given(data=st.data())
def test_any_rows_are_those_of_the_whole(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Packed zero points and cut blocks, whatever rows are asked for."""
    kind = data.draw(
        st.sampled_from(["int3 by row, asymmetric", "fp8 by block, cut", "int4 by group, asymmetric"])
    )
    preset, changes = SCHEMES[kind]
    scheme = quantisers.scheme_of(preset, **changes)
    stored, expected = quantisers.compressed(matrix(rows=41), scheme)
    checkpoint = compressed_opened(tmp_path_factory.mktemp("rows"), stored, scheme)
    start = data.draw(st.integers(0, 41))
    stop = data.draw(st.integers(start, 41))
    assert_same_bits(checkpoint.rows("up.weight")[start:stop], expected[start:stop].bfloat16())


def test_the_fingerprint_is_of_codes_and_scales(tmp_path: Path) -> None:
    codes, scale = quantisers.fp8(matrix(), (14, 32))
    said = {"quant_method": "fp8", "weight_block_size": [14, 32]}
    found = []
    for place, (a, b) in enumerate(
        [(codes, scale), (codes, scale), (codes, scale * 2), (-codes.float(), scale)]
    ):
        state = {"up.weight": a.to(codes.dtype), "up.weight_scale_inv": b}
        found.append(opened(tmp_path / str(place), state, said).fingerprint)
    assert found[0] == found[1]
    assert len(set(found)) == 3


REFUSED = {
    "gptq": (
        {"quant_method": "gptq"},
        r"quantised \(gptq\); read here are .* Give the model that it was made from, a/b$",
    ),
    "awq": ({"quant_method": "awq"}, r"or convert it with .*AutoAWQConverter"),
    "bitsandbytes": ({"quant_method": "bitsandbytes"}, r"or write it out: .*model\.dequantize\(\)"),
    "sparse": (
        {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}},
        "sparse weights are not read here",
    ),
    "rotated": (
        {"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"R1": {}}}},
        "its weights are rotated",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_with_a_way_on(kind: str, tmp_path: Path) -> None:
    said, message = REFUSED[kind]
    (tmp_path / "README.md").write_text("---\nbase_model:\n- a/b\n---\n")
    with pytest.raises(AdammsError, match=message):
        opened(tmp_path, {"up.weight": matrix()}, said)


BROKEN: dict[str, tuple[tiny.State, object, str]] = {
    "no scale": (
        {"up.weight": matrix().to(torch.float8_e4m3fn)},
        {"quant_method": "fp8"},
        "up.weight has dtype F8_E4M3 and no scale; expected up.weight_scale_inv or up.weight_scale",
    ),
    "scales of another shape": (
        {"up.weight": matrix().to(torch.float8_e4m3fn), "up.weight_scale_inv": torch.ones(5, 3)},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        r"up.weight of shape \[56, 96\], in blocks of \[128, 128\] does not go with scales of shape \[5, 3\]",
    ),
    "codes of another kind": (
        {"up.weight": torch.ones(4, 4, dtype=torch.int8), "up.weight_scale": torch.ones(1)},
        {"quant_method": "fp8"},
        "up.weight has dtype I8; expected F8_E4M3 or F8_E5M2",
    ),
    "stored twice": (
        {
            "up.weight_packed": torch.ones(4, 4, dtype=torch.uint8),
            "up.weight_scale": torch.ones(1),
            "up.weight": matrix(),
        },
        {"quant_method": "compressed-tensors"},
        "up.weight is stored twice, with and without quantisation",
    ),
    "bits that nobody says": (
        {"up.weight_packed": torch.ones(4, 4, dtype=torch.int32), "up.weight_scale": torch.ones(1)},
        {"quant_method": "compressed-tensors"},
        "up.weight_packed has dtype I32 and None bits; expected I32 and 1 to 8, or U8",
    ),
    "blocks without scales": (
        {"a_blocks": torch.ones(1, 2, 2, 16, dtype=torch.uint8)},
        {"quant_method": "mxfp4"},
        r"a_blocks has no scales of shape \[1, 2, 2\] \(a_scales\)",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_quantised_tensors_are_named(kind: str, tmp_path: Path) -> None:
    state, said, message = BROKEN[kind]
    with pytest.raises(AdammsError, match=message):
        opened(tmp_path, state, said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_block_size": [0, 128]}, r"weight_block_size.0 is 0: .* greater than 0"),
        ({"weight_block_size": "x"}, "weight_block_size is 'x'"),
        ({"config_groups": [1]}, r"config_groups is \[1\]"),
        ({"config_groups": {"a": {"targets": ["re:("]}}}, "targets.0 is 're:\\('.*no regular expression"),
        ({"config_groups": {"a": {"targets": [1]}}}, "config_groups.a.targets.0 is 1"),
        ({"config_groups": {"a": {"weights": {"block_structure": "axb"}}}}, "block_structure.0 is 'a'"),
    ],
)
def test_what_config_json_cannot_say_is_named(changes: object, message: str, tmp_path: Path) -> None:
    state = {"up.weight": matrix().to(torch.float8_e4m3fn), "up.weight_scale_inv": torch.ones(1, 1)}
    for method in ("fp8", "compressed-tensors"):
        with pytest.raises(AdammsError, match=rf"quantised \({method}\): config.json: .*{message}"):
            opened(tmp_path, state, {"quant_method": method, **changes})  # type: ignore[dict-item]


def test_parts_of_a_model_that_are_quantised_in_two_ways_are_refused(tmp_path: Path) -> None:
    state = {"up.weight": matrix().to(torch.float8_e4m3fn), "up.weight_scale_inv": torch.ones(1, 1)}
    tiny.write_state(state, tmp_path)
    ways = [{"quant_method": "fp8", "weight_block_size": [rows, 128]} for rows in (128, 128, 64)]
    for way, message in ((ways[1], None), (ways[2], "two different"), ({"quant_method": "awq"}, "awq")):
        parts = {
            "text_config": {"quantization_config": ways[0]},
            "vision_config": {"quantization_config": way},
        }
        (tmp_path / "config.json").write_text(json.dumps(parts))
        if message is None:
            assert list(open_checkpoint(tmp_path).tensors) == ["up.weight"]
            continue
        with pytest.raises(AdammsError, match=message):
            open_checkpoint(tmp_path)


@pytest.mark.parametrize("scale", ["up.weight_scale_inv", "up.weight_scale", "up.scale"])
def test_codes_of_which_config_json_says_nothing_are_refused_at_once(scale: str, tmp_path: Path) -> None:
    state = {"up.weight": matrix().to(torch.float8_e4m3fn), scale: torch.ones(1, 1)}
    with pytest.raises(AdammsError, match=f'up.weight has dtype F8_E4M3 and a scale, {scale}, .*"fp8"'):
        opened(tmp_path, state, None)
    (tmp_path / "hf_quant_config.json").write_text("{}")
    with pytest.raises(AdammsError, match=r"quantised \(modelopt\).*ModelOptNvfp4Converter"):
        open_checkpoint(tmp_path)


def test_a_group_that_names_the_module_counts_before_classes(tmp_path: Path) -> None:
    scheme = quantisers.scheme_of("W4A16", group_size=32)
    stored, expected = quantisers.compressed(matrix(), scheme)
    own = json.loads(scheme.model_dump_json())
    other = json.loads(quantisers.scheme_of("W8A16", group_size=32).model_dump_json())
    groups = {"a": other, "b": own | {"targets": ["re:.*up$"]}}
    said = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert_same_bits(opened(tmp_path / "named", local(stored), said).read("up.weight"), expected)
    said["config_groups"] = {"a": other, "b": own}
    with pytest.raises(AdammsError, match="config_groups have 2 schemes for up; expected one"):
        opened(tmp_path / "unclear", local(stored), said)


def test_a_view_of_the_file_where_nothing_is_computed(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.write_model(tmp_path / "model", {"steps": torch.tensor(3.0)}))
    assert not isinstance(checkpoint.tensors["steps"], QuantisedEntry)
    assert rows_of(checkpoint.tensors["steps"]).shape == (1,)
    assert checkpoint.read("steps").shape == ()
    assert checkpoint.dequantised == ""
