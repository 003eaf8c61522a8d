"""Fingerprints: digests that tell checkpoints, adapters, tokenizers and processors apart.

The only module that makes them. Weights enter by a sample of every tensor, other files whole. Stored answers
and adamms_recipe.json name checkpoints by these digests, so they must not change.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from adamms.checkpoint.side_files import DOCUMENTS, side_files
from adamms.checkpoint.tensor_file import TensorEntry, map_tensor, reading

# Enough of a tensor to tell two checkpoints apart without reading 16 GB.
SAMPLE_BYTES = 4096


def fingerprint_tensors(tensors: Mapping[str, TensorEntry]) -> str:
    """A digest of names, shapes, dtypes and sampled bytes of every tensor, whatever the sharding."""
    return digest_parts(part for name, entry in tensors.items() for part in (described(name, entry), entry))


def fingerprint_side_files(folder: Path) -> str:
    """A digest of the names and contents of the files that a model, a tokenizer or a processor reads."""
    files = [file for file in side_files(folder) if file.suffix and file.suffix not in DOCUMENTS]
    with reading(folder):
        contents = {file: hashlib.blake2b((folder / file).read_bytes(), digest_size=16) for file in files}
    return digest_parts(f"{file.as_posix()} {content.hexdigest()}" for file, content in contents.items())


def described(name: str, entry: TensorEntry) -> str:
    """The line that stands for a tensor's name, dtype and shape."""
    return f"{name} {entry.dtype} {entry.shape}\n"


def digest_parts(parts: Iterable[str | TensorEntry]) -> str:
    """A digest of texts and of tensors' sampled bytes, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for raw in (part.encode(),) if isinstance(part, str) else _samples(part):
            digest.update(raw)
    return digest.hexdigest()


def _samples(entry: TensorEntry) -> list[memoryview]:
    """All bytes of a small tensor; of a larger one the first, middle and last 4 KiB."""
    raw = map_tensor(entry).contiguous().reshape(-1).view(torch.uint8).numpy().data
    if raw.nbytes <= 3 * SAMPLE_BYTES:
        return [raw]
    starts = (0, raw.nbytes // 2, raw.nbytes - SAMPLE_BYTES)
    return [raw[start : start + SAMPLE_BYTES] for start in starts]
