"""Quantised copies of tiny models, and the values that the formats' own code reads from them.

FP8 codes are made here and read by transformers; compressed-tensors makes and reads its own.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import load_file

FP8_MOST = 448.0
ADDED_TO_CONFIG = "quantization_config"
# What of a model is quantised: the matrices in the layers of its language model and of its vision tower.
LINEAR = ("proj.weight", "qkv.weight", "fc1.weight", "fc2.weight")


def import_library() -> None:
    """compressed-tensors compiles a function on import, of which torch warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import compressed_tensors.compressors  # noqa: F401


def quantisable(name: str, tensor: torch.Tensor) -> bool:
    return tensor.dim() == 2 and name.endswith(LINEAR)


def fp8(weight: torch.Tensor, block: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and multipliers of a matrix; the last blocks may be cut."""
    padded = _padded(weight.float(), block)
    blocks = padded.unflatten(1, (-1, block[1])).unflatten(0, (-1, block[0]))
    scale = blocks.abs().amax((1, 3)) / FP8_MOST
    codes = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn).reshape(padded.shape)
    return codes[: weight.shape[0], : weight.shape[1]].contiguous(), scale


def fp8_values(codes: torch.Tensor, scale: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """What transformers reads; it takes whole blocks only, so cut ones are filled up."""
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    padded = _padded(codes.view(torch.uint8), block).view(torch.float8_e4m3fn)
    whole = Fp8Dequantize(None)._dequantize_one(padded, scale, torch.bfloat16)
    return whole[..., : codes.shape[-2], : codes.shape[-1]].contiguous()


def _padded(weight: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    rows, columns = (-size % step for size, step in zip(weight.shape[-2:], block, strict=True))
    return torch.nn.functional.pad(weight, (0, columns, 0, rows))


def compressed(weight: torch.Tensor, scheme: Any) -> tuple[tiny.State, torch.Tensor]:
    """What compressed-tensors stores of a matrix, by local names, and the values that it reads from that."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization.utils import calculate_qparams

    compressor = BaseCompressor.get_value_from_registry(infer_module_format(torch.nn.Linear, scheme).value)
    args = scheme.weights
    least, most = _ends(weight, args)
    scale, zero = calculate_qparams(least, most, args)
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    if args.actorder == "group":
        order = torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(0))
        state["weight_g_idx"] = (order // args.group_size).int()
    stored = compressor.compress(state, scheme)
    return stored, _read(compressor, stored, scheme)


def _read(compressor: Any, stored: tiny.State, scheme: Any) -> torch.Tensor:
    """By the library; where blocks are cut, with the block's size, which it cannot infer."""
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    if scheme.weights.block_structure is not None:
        return dequantize(stored["weight"], stored["weight_scale"], args=scheme.weights, dtype=torch.bfloat16)
    values: torch.Tensor = compressor.decompress(stored, scheme)["weight"]
    return values


def _ends(weight: torch.Tensor, args: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest value of each block."""
    strategy = str(getattr(args.strategy, "value", args.strategy))
    if strategy == "tensor":
        return weight.amin(), weight.amax()
    if strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if strategy == "block":
        high, wide = args.block_structure
        blocks = _padded(weight, (high, wide)).unflatten(1, (-1, wide)).unflatten(0, (-1, high))
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.unflatten(1, (-1, args.group_size))
    return groups.amin(2), groups.amax(2)


def random_fp4(shape: tuple[int, int], group: int, seed: int = 0) -> tiny.State:
    """Stored tensors of an NVFP4 (groups of 16) or MXFP4 (of 32) matrix, by local names."""
    noise = torch.Generator().manual_seed(seed)
    rows, columns = shape
    packed = torch.randint(0, 256, (rows, columns // 2), generator=noise, dtype=torch.uint8)
    if group == 16:
        scale = (torch.rand(rows, columns // group, generator=noise) * 100 + 1).to(torch.float8_e4m3fn)
        more = {"weight_global_scale": torch.tensor([5376.5])}
        return {"weight_packed": packed, "weight_scale": scale, **more}
    exponents = torch.randint(115, 125, (rows, columns // group), generator=noise, dtype=torch.uint8)
    return {"weight_packed": packed, "weight_scale": exponents}


def quantised_copy(
    source: Path,
    folder: Path,
    config: Mapping[str, Any],
    quantise: Callable[[torch.Tensor], tuple[tiny.State, torch.Tensor]],
    shards: int = 1,
) -> tiny.State:
    """A copy of a model with some matrices quantised, its config.json saying so.

    Args:
        quantise: matrix -> (what is stored of it, by local names; the values).

    Returns:
        Name -> value, of all tensors.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    stored: tiny.State = {}
    values: tiny.State = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if not quantisable(name, tensor):
            stored[name] = values[name] = tensor
            continue
        parts, values[name] = quantise(tensor)
        stored |= {f"{name.removesuffix('weight')}{part}": held.clone() for part, held in parts.items()}
    tiny.write_state(stored, folder, shards)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {ADDED_TO_CONFIG: dict(config)}))
    return values


def fp8_copy(source: Path, folder: Path, block: tuple[int, int] = (32, 40), shards: int = 1) -> tiny.State:
    """As Qwen3-VL-FP8 is, with blocks that do not divide the matrices."""

    def quantise(weight: torch.Tensor) -> tuple[tiny.State, torch.Tensor]:
        codes, scale = fp8(weight, block)
        return {"weight": codes, "weight_scale_inv": scale}, fp8_values(codes, scale, block)

    said = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": list(block)}
    skipped = {"modules_to_not_convert": ["lm_head"]}
    return quantised_copy(source, folder, said | skipped, quantise, shards)


def compressed_copy(source: Path, folder: Path, preset: str, **changes: object) -> tiny.State:
    """As llm-compressor writes it."""
    scheme = scheme_of(preset, **changes)
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import QuantizationConfig

    form = infer_module_format(torch.nn.Linear, scheme).value
    said = QuantizationConfig(
        config_groups={"group_0": scheme}, format=form, ignore=["lm_head"], quantization_status="compressed"
    )
    return quantised_copy(
        source, folder, json.loads(said.model_dump_json()), lambda weight: compressed(weight, scheme)
    )


def scheme_of(preset: str, **changes: object) -> Any:
    """One of compressed-tensors' schemes, with other settings of the weights."""
    import_library()
    from compressed_tensors.quantization import QuantizationArgs, preset_name_to_scheme

    scheme = preset_name_to_scheme(preset, ["Linear"])
    if changes:
        settings = scheme.weights.model_dump() | changes
        scheme.weights = QuantizationArgs(**{k: v for k, v in settings.items() if k != "zp_dtype"})
    return scheme
