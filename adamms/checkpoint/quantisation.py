"""What config.json says of quantised weights, and which stored tensors make up one of them.

Block FP8 (DeepSeek-V3, Qwen3-VL-FP8), FP8 by tensor or row, compressed-tensors (FP8, INT8, packed integers,
NVFP4, MXFP4, MXFP8) and MXFP4 (gpt-oss). What is stored decides, so modules that were not converted need no
list. Others are refused, with a way on. Computes no value: `quantised` does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamms.checkpoint.quantised import INT32_BITS, Coding, QuantisedEntry
from adamms.checkpoint.quantised_shapes import check_parts, fitting_block, said_block
from adamms.checkpoint.tensor_file import TensorEntry, map_tensor
from adamms.errors import AdammsError

KEYS = ("quantization_config", "compression_config")
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
    said = next(_said(config), None)
    if said is None:
        return config, dict(tensors)
    method = str(said.get("quant_method", "unknown")) if isinstance(said, dict) else ""
    if method not in (*FP8, COMPRESSED, MXFP4):
        raise AdammsError(_refusal(folder, method))
    _check_only_quantised(folder, said)
    try:
        found = _Tensors(method, said, tensors).found()
    except AdammsError as error:
        raise AdammsError(f"{folder}: quantised ({method}): {error}") from error
    return _without(config), found


def _said(config: Mapping[str, Any]) -> Iterator[Any]:
    """What a config.json and the configurations in it say of quantisation."""
    yield from (config[key] for key in KEYS if config.get(key))
    for part in config.values():
        if isinstance(part, Mapping):
            yield from _said(part)


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in KEYS
    }


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
        method: its quant_method.
        said: its quantization_config.
        tensors: name -> what is stored.
    """

    def __init__(self, method: str, said: Mapping[str, Any], tensors: Mapping[str, TensorEntry]) -> None:
        self._method = method
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
        said = self._said.get("weight_block_size")
        if self._method == COMPRESSED:
            said = said_block(self._scheme(name, entry.dtype))
        return self._entry(name, entry.shape, entry, said)

    def _packed(self, name: str, entry: TensorEntry) -> QuantisedEntry:
        scheme = self._scheme(name, entry.dtype)
        said = said_block(scheme)
        if entry.dtype == "U8":
            shape = (*entry.shape[:-1], entry.shape[-1] * 2)
            return self._entry(name, shape, entry, said, "fp4")
        bits = scheme.get("num_bits")
        if entry.dtype != "I32" or not isinstance(bits, int) or not 1 <= bits <= 8:
            raise AdammsError(
                f"{entry.name} has dtype {entry.dtype} and {bits} bits; expected I32 and 1 to 8, or U8"
            )
        shape = (*entry.shape[:-1], entry.shape[-1] * (INT32_BITS // bits))
        known = self._part(f"{name}_shape")
        if known is not None and known.file.is_file():
            shape = tuple(map_tensor(known).tolist())
        return self._entry(name, shape, entry, said, "int32", bits)

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
        names = (f"{name}_scale_inv", f"{name}_scale", f"{name.removesuffix('.weight')}.scale")
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

    def _scheme(self, name: str, dtype: str) -> Mapping[str, Any]:
        """What config_groups say of the tensor `name`, whose codes have this dtype; {} if they say nothing.

        A group names modules, patterns or classes; the files have no classes, so a class may mean any module.
        """
        given = self._said.get("config_groups")
        groups = [each for each in given.values() if isinstance(each, Mapping)] if given else []
        module, kind = name.rpartition(".")[0], "int" if dtype.startswith("I") else "float"
        named = [each for each in groups if _names(each.get("targets") or (), module)]
        schemes: list[Mapping[str, Any]] = []
        for group in named or groups:
            weights = group.get("weights")
            if isinstance(weights, Mapping) and weights.get("type") == kind and weights not in schemes:
                schemes.append(weights)
        if len(schemes) > 1:
            raise AdammsError(f"config_groups have {len(schemes)} schemes for {module}; expected one")
        return schemes[0] if schemes else {}


def _names(targets: Sequence[str], module: str) -> bool:
    """Whether one of a group's targets is a module's name, or a pattern that matches it."""
    return any(
        bool(re.match(each[3:], module)) if each.startswith("re:") else each == module for each in targets
    )
