"""A checkpoint folder as a mapping of tensor names to lazy tensors, with its config.json.

Owns shards and their index. Knows nothing of what the tensors mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from adamms.checkpoint.fingerprint import fingerprint_tensors
from adamms.checkpoint.mistaken_paths import (
    WEIGHT_SUFFIXES,
    check_files,
    check_weight_file,
    instead_of_a_model,
)
from adamms.checkpoint.quantised.quantisation import dequantised
from adamms.checkpoint.quantised.quantised import QuantisedEntry, Rows, rows_of
from adamms.checkpoint.side_files import INDEX_NAMES, SINGLE_NAMES
from adamms.checkpoint.tensor_entry import TensorEntry, brief, check_no_pointer, reading
from adamms.checkpoint.tensor_file import read_header
from adamms.errors import AdammsError, nearest, no_such_path
from adamms.system.on_demand import torch

# What training leaves beside the weights, under names that look like theirs.
_STATE_OF_TRAINING = re.compile(
    r"(training_args|optimizer|scheduler|scaler|sampler|rng_state|random_states)(_\d+)?\.\w+|.*optim_states\.pt"
)

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Checkpoint:
    """Tensor names, shapes, dtypes and places of one model; values are read when asked for.

    >>> norm = TensorEntry("norm.weight", (64,), "BF16", Path("model/model.safetensors"), offset=4096)
    >>> model = Checkpoint(Path("model"), {norm.name: norm}, {"model_type": "llama"})
    >>> model.tensors["norm.weight"].nbytes
    128

    Args:
        folder: the local folder.
        tensors: name -> entry, sorted by name.
        config: the parsed config.json, without what it says of quantisation; empty when there is none.
    """

    folder: Path
    tensors: Mapping[str, TensorEntry]
    config: Mapping[str, Any]

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def adapted(self) -> frozenset[str]:
        """Names of the tensors whose values are not those of the folder's files."""
        return frozenset()

    def computes(self, name: str) -> bool:
        """Whether the values of a tensor are computed when they are read, and lie in no file."""
        return isinstance(self.tensors[name], QuantisedEntry)

    @property
    def dequantised(self) -> str:
        """What is said of tensors whose files hold codes and scales; "" if there are none."""
        found = [entry for entry in self.tensors.values() if isinstance(entry, QuantisedEntry)]
        methods = ", ".join(sorted({entry.method for entry in found}))
        dtypes = " and ".join(sorted({entry.dtype for entry in found}))
        return f"dequantised from {methods}: {len(found)} tensors read as {dtypes}" if found else ""

    @property
    def tokenizer_folders(self) -> tuple[Path, ...]:
        """Where the tokenizer may be; the first folder that has one counts."""
        return (self.folder,)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the tensor `name`."""
        return self.tensors[name].shape

    def rows(self, name: str) -> Rows:
        """The tensor `name` row by row; a scalar is one row."""
        if name not in self.tensors:
            raise AdammsError(f"{self.folder}: no tensor {name!r}.{nearest(name, self.tensors)}")
        return rows_of(self.tensors[name])

    def read(self, name: str) -> torch.Tensor:
        """The tensor `name`: a memory-mapped view, or computed as a whole where `rows` needs less memory."""
        return self.rows(name)[:].view(self.tensors[name].shape)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights, the same however they are sharded."""
        return fingerprint_tensors(self.tensors)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the headers of the checkpoint in the folder (or the single weight file) `path`.

    Raises:
        AdammsError: nothing there, a shard that is missing, outside the folder, truncated or at
            odds with the index, a malformed config.json, or weights quantised in a way that is not read.
    """
    with reading(path):
        if not path.exists():
            raise no_such_path(path)
        folder = path if path.is_dir() else path.parent
        if path.is_dir():
            check_files(folder)
        else:
            check_weight_file(path)
        config, tensors = dequantised(
            folder, read_config(folder), read_header(path) if path.is_file() else _read_folder(folder)
        )
    if not tensors:
        raise AdammsError(f"{path}: holds no tensors")
    return Checkpoint(folder, dict(sorted(tensors.items())), config)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json in `folder`, its class names checked; empty if there is none.

    Raises:
        AdammsError: no JSON object, or `architectures` or `model_type` of another type.
    """
    file = folder / "config.json"
    if not file.is_file():
        return {}
    config = read_json(file)
    declared, model_type = config.get("architectures"), config.get("model_type")
    names = [] if declared is None else declared
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise AdammsError(
            f"{file}: architectures is {repr(declared)[:80]}; expected a list of class names, such as "
            f'["LlamaForCausalLM"]'
        )
    if model_type is not None and not isinstance(model_type, str):
        raise AdammsError(f'{file}: model_type is {repr(model_type)[:80]}; expected a text, such as "llama"')
    return config


def _read_folder(folder: Path) -> dict[str, TensorEntry]:
    for single, index in zip(SINGLE_NAMES, INDEX_NAMES, strict=True):
        if (folder / index).is_file():
            tensors = _read_shards(folder, folder / index)
            shards = {entry.file.name for entry in tensors.values()}
            if (folder / single).is_file() and shards != {single}:
                raise AdammsError(f"{folder}: holds both {single} and {index}; remove the one that is stale")
            return tensors
        if (folder / single).is_file():
            return read_header(folder / single)
    others = sorted(file for file in folder.iterdir() if may_be_weights(file.name))
    if (folder / ADAPTER_CONFIG).is_file():
        raise AdammsError(f"{folder}: holds a PEFT adapter, not a model")
    if len(others) == 1:
        return read_header(others[0])
    if instead := instead_of_a_model(folder):
        raise AdammsError(f"{folder}: {instead}")
    found = f"{len(others)} weight files and no index" if others else "no weights"
    raise AdammsError(
        f"{folder}: {found}; expected one of {', '.join(SINGLE_NAMES + INDEX_NAMES)}, "
        f"or a single *{', *'.join(WEIGHT_SUFFIXES)}"
    )


def may_be_weights(name: str) -> bool:
    """Whether a file of this name may hold a model's weights."""
    return name.endswith(WEIGHT_SUFFIXES) and not _STATE_OF_TRAINING.fullmatch(name)


def _read_shards(folder: Path, index: Path) -> dict[str, TensorEntry]:
    weight_map = read_index(index)
    names, there = list(dict.fromkeys(weight_map.values())), {file.name for file in folder.iterdir()}
    if missing := [brief(shard) for shard in names if shard not in there]:
        raise AdammsError(
            f"{index}: names {len(names)} shards, and {folder} lacks {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}; download the model again"
        )
    return join_shards(index, weight_map, {shard: read_header(folder / shard) for shard in names})


def read_index(index: Path) -> dict[str, str]:
    """Tensor name -> the name of the shard that holds it, as an index says.

    Raises:
        AdammsError: no index, or a shard outside its folder.
    """
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise AdammsError(f"{index}: expected an object 'weight_map' of tensor name -> shard file")
    for shard in dict.fromkeys(weight_map.values()):
        if Path(shard).name != shard or shard in ("", ".", ".."):
            raise AdammsError(
                f"{index}: names the shard {brief(shard)}, which is outside the folder {index.parent}"
            )
    return weight_map


def join_shards(
    index: Path, weight_map: Mapping[str, str], shards: Mapping[str, Mapping[str, TensorEntry]]
) -> dict[str, TensorEntry]:
    """All tensors of the `shards`, file name -> header, each where the index says it is.

    Tensors that the index leaves out are loaded by transformers all the same, so they count.

    Raises:
        AdammsError: headers that do not agree with the index.
    """
    tensors: dict[str, TensorEntry] = {}
    for header in shards.values():
        for name, entry in header.items():
            if name in tensors and name not in weight_map:
                raise AdammsError(f"{index}: leaves out {brief(name)}, which more than one shard holds")
            tensors[name] = entry
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise AdammsError(f"{index}: says {brief(name)} is in {shard}, which does not hold it")
        tensors[name] = shards[shard][name]
    return tensors


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        AdammsError: no JSON, or no object.
    """
    try:
        with reading(file):
            check_no_pointer(file)
            content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise AdammsError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise AdammsError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content
