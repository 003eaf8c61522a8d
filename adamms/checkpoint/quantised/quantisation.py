"""Which stored tensors make up one quantised weight, by their names and what config.json says.

Block FP8 (DeepSeek-V3, Qwen3-VL-FP8), FP8 by tensor or row, compressed-tensors (FP8, INT8, packed integers,
NVFP4, MXFP4, MXFP8) and MXFP4 (gpt-oss). What is stored decides, so modules that were not converted need no
list. Others are refused, with a way on. Computes no value: `quantised` does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adamms.checkpoint.quantised.quantisation_config import (
    Quantisation,
    read_quantisation,
    said_of_quantisation,
    without_quantisation,
)
from adamms.checkpoint.quantised.quantised import INT32_BITS, Coding, QuantisedEntry
from adamms.checkpoint.quantised.quantised_shapes import check_parts, fitting_block
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.tensor_values import map_tensor
from adamms.errors import AdammsError

FP8, COMPRESSED, MXFP4 = ("fp8", "fbgemm_fp8"), "compressed-tensors", "mxfp4"
READ = "block FP8, compressed-tensors and MXFP4"
CONVERT = "or convert it with compressed_tensors.entrypoints.convert ({}), which makes what is read here"
# quant_method -> what to do beside taking the model that it was made from.
WAYS = {
    "awq": CONVERT.format("convert_checkpoint and AutoAWQConverter"),
    "modelopt": CONVERT.format("convert_checkpoint and ModelOptNvfp4Converter"),
    "bitsandbytes": "or write it out: transformers' from_pretrained, model.dequantize(), save_pretrained",
}
# Codes that are numbers of their own.
NUMBERS = ("F8_E4M3", "F8_E5M2", "I8")
# Integers and exponents are scales of these dtypes, too.
SCALES = ("F32", "BF16", "F16", "F8_E4M3", "U8")
PACKED, BLOCKS = "_packed", "_blocks"
_PART = re.compile(r".*[._](scale|scale_inv|scales|zero_point|g_idx|shape|global_scale)")
# What only quantised activations and caches need.
_ACTIVATIONS = re.compile(
    r"(.*[._])?(input|output|activation|q|k|v|kv|kv_cache)_(global_)?(scale|zero_point)"
)
_CARD_BASE = re.compile(r"^base_model:\s*(?:-\s*)?[\"']?([\w.-]+/[\w.-]+)", re.MULTILINE)


def dequantised(
    folder: Path, config: dict[str, Any], tensors: Mapping[str, TensorEntry]
) -> tuple[dict[str, Any], dict[str, TensorEntry]]:
    """config.json and the tensors of a checkpoint as if it had not been quantised; as they are if it is not.

    Raises:
        AdammsError: a format that is not read here, or tensors that are not as the format says.
    """
    first = None
    for said in said_of_quantisation(config):
        method = str(said.get("quant_method", "unknown")) if isinstance(said, dict) else ""
        if method not in (*FP8, COMPRESSED, MXFP4):
            raise AdammsError(_refusal(folder, method))
        _check_only_quantised(folder, said)
        with _explained(folder, method):
            quantisation = read_quantisation(said)
            if quantisation != (first or quantisation):
                raise AdammsError(
                    "config.json says two different things of quantisation, in parts of the model; expected "
                    "one for all parts. Give the model that it was made from"
                )
        first = quantisation
    if first is None:
        _check_not_quantised(folder, tensors)
        return config, dict(tensors)
    with _explained(folder, first.quant_method):
        return without_quantisation(config), _Tensors(first, tensors).found()


@contextmanager
def _explained(folder: Path, method: str) -> Iterator[None]:
    try:
        yield
    except AdammsError as error:
        raise AdammsError(f"{folder}: quantised ({method}): {error}") from error


def _check_not_quantised(folder: Path, tensors: Mapping[str, TensorEntry]) -> None:
    """Raise AdammsError for codes with scales, of which config.json says nothing."""
    for name, entry in tensors.items():
        codes = entry.dtype in (*NUMBERS, "U8")
        scale = next((each for each in _scales(name) if each in tensors), None) if codes else None
        if scale is None:
            continue
        if (folder / "hf_quant_config.json").is_file():
            raise AdammsError(_refusal(folder, "modelopt"))
        raise AdammsError(
            f"{folder}: {name} has dtype {entry.dtype} and a scale, {scale}, and config.json has no "
            f"quantization_config. If it is block FP8, add it to config.json, such as "
            f'"quantization_config": {{"quant_method": "fp8", "weight_block_size": [128, 128]}}; '
            f"or give the model that it was made from"
        )


def _scales(name: str) -> tuple[str, str, str]:
    """What the scales of the codes `name` may be called."""
    return f"{name}_scale_inv", f"{name}_scale", f"{name.removesuffix('.weight')}.scale"


def _refusal(folder: Path, method: str) -> str:
    card = folder / "README.md"
    base = _CARD_BASE.search(card.read_text(errors="replace")[:4096]) if card.is_file() else None
    model = "the model that it was made from" + (f", {base[1]}" if base else "")
    way = f", {WAYS[method]}" if method in WAYS else ""
    return f"{folder}: the checkpoint is quantised ({method}); read here are {READ}. Give {model}{way}"


def _check_only_quantised(folder: Path, said: Mapping[str, Any]) -> None:
    """Raise AdammsError for weights that are sparse or rotated as well."""
    sparse = said.get("sparsity_config") or {}
    formats = {str(said.get("format", "")), str(sparse.get("format", "")) if isinstance(sparse, dict) else ""}
    if unread := sorted(each for each in formats if each.startswith(("sparse", "marlin"))):
        raise AdammsError(f"{folder}: quantised ({unread[0]}); sparse weights are not read here")
    transform = said.get("transform_config") or {}
    if isinstance(transform, dict) and transform.get("config_groups"):
        raise AdammsError(
            f"{folder}: quantised with transform_config: its weights are rotated, and correspond to no other "
            f"model's. Give the model that it was made from"
        )


class _Tensors:
    """The stored tensors of a checkpoint, put together.

    Args:
        said: its quantization_config.
        tensors: name -> what is stored.
    """

    def __init__(self, said: Quantisation, tensors: Mapping[str, TensorEntry]) -> None:
        self._method = said.quant_method
        self._said = said
        self._tensors = tensors
        self._used: set[str] = set()

    def found(self) -> dict[str, TensorEntry]:
        """Name -> the tensor by its values."""
        values: dict[str, TensorEntry] = {}
        for name, entry in self._tensors.items():
            made = self._made(name, entry)
            if made is not None:
                values[made.name] = made
        plain = {
            name: entry
            for name, entry in self._tensors.items()
            if name not in self._used and not _ACTIVATIONS.fullmatch(name)
        }
        if twice := sorted(values.keys() & plain.keys()):
            raise AdammsError(f"{twice[0]} is stored twice, with and without quantisation")
        return dict(sorted((values | plain).items()))

    def _made(self, name: str, entry: TensorEntry) -> QuantisedEntry | None:
        """The tensor whose codes are stored as `name`; None if they are no codes."""
        if self._method == MXFP4:
            return self._expert_blocks(name, entry) if name.endswith(BLOCKS) else None
        if _PART.fullmatch(name):
            return None
        if self._method == COMPRESSED and name.endswith(PACKED):
            return self._packed(name.removesuffix(PACKED), entry)
        if entry.dtype in NUMBERS:
            return self._numbers(name, entry)
        return None

    def _numbers(self, name: str, entry: TensorEntry) -> QuantisedEntry:
        if entry.dtype == "I8" and self._method != COMPRESSED:
            raise AdammsError(f"{name} has dtype I8; expected {' or '.join(NUMBERS[:2])}")
        compressed = self._method == COMPRESSED
        said = self._said.scheme(name, entry.dtype).block if compressed else self._said.weight_block_size
        return self._entry(name, entry.shape, entry, said)

    def _packed(self, name: str, entry: TensorEntry) -> QuantisedEntry:
        scheme = self._said.scheme(name, entry.dtype)
        if entry.dtype == "U8":
            shape = (*entry.shape[:-1], entry.shape[-1] * 2)
            return self._entry(name, shape, entry, scheme.block, "fp4")
        bits = scheme.num_bits
        if entry.dtype != "I32" or bits is None or not 1 <= bits <= 8:
            raise AdammsError(
                f"{entry.name} has dtype {entry.dtype} and {bits} bits; expected I32 and 1 to 8, or U8"
            )
        shape = (*entry.shape[:-1], entry.shape[-1] * (INT32_BITS // bits))
        known = self._part(f"{name}_shape")
        if known is not None and known.file.is_file():
            shape = tuple(map_tensor(known).tolist())
        return self._entry(name, shape, entry, scheme.block, "int32", bits)

    def _expert_blocks(self, name: str, entry: TensorEntry) -> QuantisedEntry:
        """All experts of a layer as in gpt-oss: (experts, out, groups, bytes), read as (experts, in, out)."""
        if len(entry.shape) != 4 or entry.dtype != "U8":
            raise AdammsError(
                f"{name} has shape {list(entry.shape)} of {entry.dtype}; expected 4 dimensions of U8"
            )
        experts, out, groups, size = entry.shape
        whole = name.removesuffix(BLOCKS)
        scale = self._part(f"{whole}_scales")
        if scale is None or scale.shape != entry.shape[:3] or scale.dtype != "U8":
            raise AdammsError(f"{name} has no scales of shape {list(entry.shape[:3])} ({whole}_scales)")
        self._used.add(name)
        return QuantisedEntry(
            whole,
            (experts, groups * size * 2, out),
            "BF16",
            entry.file,
            entry.offset,
            method=MXFP4,
            codes=entry,
            scale=scale,
            block=(1, size * 2),
            coding="fp4",
            transposed=True,
        )

    def _entry(
        self,
        name: str,
        shape: Sequence[int],
        codes: TensorEntry,
        said: Sequence[int] | None,
        coding: Coding = "number",
        bits: int = 8,
    ) -> QuantisedEntry:
        names = _scales(name)
        scale = next((found for each in names if (found := self._part(each)) is not None), None)
        if scale is None:
            raise AdammsError(
                f"{codes.name} has dtype {codes.dtype} and no scale; expected {names[0]} or {names[1]}"
            )
        if len(shape) not in (2, 3) or scale.dtype not in SCALES:
            raise AdammsError(
                f"{codes.name} has shape {list(shape)} and scales of {scale.dtype}; expected a matrix, or a "
                f"stack of them, and one of {', '.join(SCALES)}"
            )
        self._used.add(codes.name)
        zero, groups = self._part(f"{name}_zero_point"), self._part(f"{name}_g_idx")
        check_parts(shape, codes, scale, zero, groups, INT32_BITS // bits if coding == "int32" else 1)
        return QuantisedEntry(
            name,
            tuple(shape),
            "F16" if scale.dtype == "F16" else "BF16",
            codes.file,
            codes.offset,
            method=self._method,
            codes=codes,
            scale=scale,
            block=fitting_block(codes.name, shape, scale, said),
            coding=coding,
            bits=bits,
            zero_point=zero,
            global_scale=self._part(f"{name}_global_scale"),
            groups=groups,
        )

    def _part(self, name: str) -> TensorEntry | None:
        if name in self._tensors:
            self._used.add(name)
        return self._tensors.get(name)
