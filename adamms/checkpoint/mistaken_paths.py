"""What a path is that was given for a model and is none, in words that say what to give instead.

Knows the hub's cache, git's pointers and links; reads no weights.
"""

import re
from pathlib import Path

from adamms.checkpoint.side_files import INDEX_NAMES, SINGLE_NAMES
from adamms.checkpoint.tensor_entry import LFS_POINTER, check_no_pointer
from adamms.errors import AdammsError

# Weights, also under other names, as research code writes them.
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
_READ_SUFFIXES = (*WEIGHT_SUFFIXES, ".json", ".model", ".txt", ".jinja")
_MOST_POINTER_BYTES = 1024
# Each process's part of a model in training -> what makes a model of them.
_SHARDS = {
    "zero_to_fp32.py": "shards of DeepSpeed's ZeRO. Join them: python {folder}/zero_to_fp32.py {folder} OUT",
    "*.distcp": "shards of FSDP. Join them: accelerate merge-weights {shards} OUT",
    "*/*.distcp": "shards of FSDP. Join them: accelerate merge-weights {shards} OUT",
}
_GGUF = "GGUF, which is not read; give the model that it was made of, as safetensors"
_SHARD = re.compile(r"-\d+-of-\d+\.\w+")


def check_files(folder: Path) -> None:
    """Raise AdammsError if weights are a link to nothing, or a file that is read is a Git LFS pointer."""
    for file in sorted(folder.iterdir()):
        if file.suffix not in _READ_SUFFIXES:
            continue
        weights = file.suffix in WEIGHT_SUFFIXES or file.name in ("config.json", *INDEX_NAMES)
        if weights and file.is_symlink() and not file.exists():
            raise AdammsError(
                f"{file}: a link to {file.readlink()}, which is not there; download the model again, "
                "or copy it with its files: cp -rL"
            )
        if file.is_file() and len(LFS_POINTER) < file.stat().st_size < _MOST_POINTER_BYTES:
            check_no_pointer(file)


def check_weight_file(file: Path) -> None:
    """Raise AdammsError if `file` cannot be all weights of a model."""
    if file.parent.name == "blobs" and file.parent.parent.name.startswith("models--"):
        raise AdammsError(f"{file}: {instead_of_a_model(file.parent.parent)}")
    if file.suffix == ".gguf":
        raise AdammsError(f"{file}: {_GGUF}")
    if file.suffix not in WEIGHT_SUFFIXES:
        raise AdammsError(
            f"{file}: holds no weights; expected a model's folder, such as {file.parent}, "
            f"or a single *{', *'.join(WEIGHT_SUFFIXES)}"
        )
    if _SHARD.search(file.name):
        raise AdammsError(f"{file}: one shard of a model; give its folder: {file.parent}")


def instead_of_a_model(folder: Path) -> str:
    """What the folder is, and what to give instead; "" if that is not known."""
    if folder.name in ("snapshots", "blobs", "refs"):
        folder = folder.parent
    snapshots = sorted(folder.glob("snapshots/*"))
    if folder.name.startswith("models--"):
        name = _hub_id(folder)
        paths = "".join(f", or {path}" for path in snapshots[:3])
        return f"the place of {name} in the hub's cache, not a model's folder. Give its hub id, {name}{paths}"
    cached = sorted(
        path for path in (*folder.glob("models--*"), *folder.glob("hub/models--*")) if path.is_dir()
    )
    if cached:
        names = ", ".join(_hub_id(path) for path in cached[:10])
        return f"the hub's cache, not a model's folder. Give a hub id, such as {names}"
    for pattern, advice in _SHARDS.items():
        if shards := next(iter(sorted(folder.glob(pattern))), None):
            return advice.format(folder=folder, shards=shards.parent)
    if any(folder.glob("*.gguf")):
        return _GGUF
    if (folder / "model_index.json").is_file():
        return "a pipeline of diffusers, not a model; a language model in it has a folder of its own"
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and has_weights(path)]
    if below:
        return f"no weights, but there are some in {', '.join(map(str, below[:5]))}"
    return ""


def has_weights(folder: Path) -> bool:
    """Whether the folder holds a model's weights under one of the names that transformers looks for."""
    return any((folder / name).is_file() for name in SINGLE_NAMES + INDEX_NAMES)


def _hub_id(folder: Path) -> str:
    return folder.name.removeprefix("models--").replace("--", "/")
