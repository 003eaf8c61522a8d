"""A checkpoint on the hub by its headers alone: names, shapes and dtypes, without its weights.

The headers are read by range requests. Knows no local weights.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from adamms.checkpoint.adapters.adapter import is_adapter
from adamms.checkpoint.hub.repository import Repository, Unreachable, reaching
from adamms.checkpoint.quantised.quantisation import dequantised
from adamms.checkpoint.quantised.quantised import Rows
from adamms.checkpoint.reader import Checkpoint, join_shards, read_config, read_index
from adamms.checkpoint.side_files import INDEX_NAMES
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.tensor_file import parse_header
from adamms.errors import AdammsError
from adamms.system.on_demand import torch

# Most headers are shorter, so that one request is enough.
FIRST_BYTES = 100_000
# Requests at a time.
WORKERS = 8


@dataclass(frozen=True)
class RemoteCheckpoint(Checkpoint):
    """A checkpoint whose files lie on the hub; only what `folder` has of it, without weights, is here.

    Args:
        name: its hub id.
    """

    name: str

    def __str__(self) -> str:
        return self.name

    def rows(self, name: str) -> Rows:
        self._refuse()

    def read(self, name: str) -> torch.Tensor:
        self._refuse()

    @cached_property
    def fingerprint(self) -> str:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise AdammsError(
            f"{self.name}: only the headers of its weights were read; download them: hf download {self.name}"
        )


def open_headers(repository: Repository) -> RemoteCheckpoint | None:
    """The checkpoint in a repository; None of one that has no headers: torch files, or an adapter.

    Raises:
        AdammsError: headers as `open_checkpoint` refuses them, or a hub that does not give parts of files.
    """
    folder = repository.download(weights=False)
    shards = repository.own_weights(folder)
    if is_adapter(folder) or not shards or not all(name.endswith(".safetensors") for name in shards):
        return None
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda shard: _read_header(repository, folder / shard), shards)
        headers = dict(zip(shards, found, strict=True))
    index = folder / INDEX_NAMES[0]
    tensors = join_shards(index, read_index(index) if index.is_file() else {}, headers)
    config, tensors = dequantised(folder, read_config(folder), tensors)
    return RemoteCheckpoint(folder, dict(sorted(tensors.items())), config, repository.name)


def _read_header(repository: Repository, file: Path) -> dict[str, TensorEntry]:
    if file.name not in repository.sizes:
        raise AdammsError(f"{repository.name}: {INDEX_NAMES[0]} names {file.name}, which is not there")
    size = repository.sizes[file.name]
    first = _read_range(repository, file.name, 0, min(size, FIRST_BYTES))

    def read(start: int, stop: int) -> bytes:
        if stop <= len(first):
            return first[start:stop]
        return first[start:] + _read_range(repository, file.name, max(start, len(first)), stop)

    return parse_header(file, size, read)


def _read_range(repository: Repository, name: str, start: int, stop: int) -> bytes:
    """Bytes `start:stop` of a file in the repository."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    url = hf_hub_url(repository.name, name, revision=repository.commit)
    headers = {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}"}
    with (
        reaching(repository.name, repository.revision),
        http_stream_backoff("GET", url, headers=headers, follow_redirects=True) as response,
    ):
        hf_raise_for_status(response)
        if response.status_code != 206:  # a mirror that would send gigabytes
            raise Unreachable(
                f"{repository.name}: the hub does not give parts of files, so the weights must come: "
                f"hf download {repository.name}"
            )
        return bytes(response.read())
