"""Fingerprints: digests that tell checkpoints, adapters, tokenizers and processors apart.

The only module that makes them. Weights enter by a sample of every tensor, other files whole. Stored answers
and adamms_recipe.json name checkpoints by these digests, so they must not change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from adamms.checkpoint.quantised.quantised import QuantisedEntry
from adamms.checkpoint.side_files import DOCUMENTS, side_files
from adamms.checkpoint.tensor_entry import TensorEntry, cut_short, reading
from adamms.checkpoint.tensor_values import map_tensor
from adamms.system.on_demand import torch

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
        for raw in (part.encode(),) if isinstance(part, str) else _bytes_of(part):
            digest.update(raw)
    return digest.hexdigest()


def _bytes_of(entry: TensorEntry) -> Iterator[bytes | memoryview]:
    """Samples of what the files hold of a tensor; where that is several tensors, with what they are."""
    if not isinstance(entry, QuantisedEntry):
        yield from _samples(entry)
        return
    for part in entry.parts:
        yield described(part.name.removeprefix(entry.name), part).encode()
        yield from _samples(part)


def _samples(entry: TensorEntry) -> list[memoryview]:
    """All bytes of a small tensor; of a larger one the first, middle and last 4 KiB."""
    whole = entry.nbytes <= 3 * SAMPLE_BYTES
    size = entry.nbytes if whole else SAMPLE_BYTES
    starts = (0,) if whole else (0, entry.nbytes // 2, entry.nbytes - SAMPLE_BYTES)
    if not entry.by_rows:
        raw = map_tensor(entry).contiguous().reshape(-1).view(torch.uint8).numpy().data
        return [raw[start : start + size] for start in starts]
    # Of a mapped file, the system would read many pages around each sample.
    with reading(entry.file), entry.file.open("rb", buffering=0) as file:
        found = [os.pread(file.fileno(), size, entry.offset + start) for start in starts]
    if any(len(raw) < size for raw in found):
        raise cut_short(entry.file)
    return [memoryview(raw) for raw in found]
