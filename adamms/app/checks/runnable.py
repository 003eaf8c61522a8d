"""The folder that an engine starts from: the model's own, or a copy in 16 bits of a quantised one.

Candidates are swapped in place, and kernels for quantised weights have no place for them. Knows no engine.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from adamms.app.json_files import write_json
from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint
from adamms.checkpoint.fingerprint import digest_parts, fingerprint_side_files
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.side_files import copy_side_files
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.writer import whole_folder, write_tensors
from adamms.merge.sources import MAPPED_FILES
from adamms.merge.stream import stored_pieces
from adamms.report.console import Console
from adamms.system.sizes import scaled
from adamms.system.whole_file import explained


@dataclass(frozen=True)
class AsItIs:
    """A checkpoint as something to write."""

    checkpoint: Checkpoint

    def layout(self) -> Sequence[TensorEntry]:
        return list(self.checkpoint.tensors.values())

    def pieces(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        return stored_pieces(self.checkpoint, name, MAPPED_FILES)


def runnable_folder(checkpoint: Checkpoint, cache: Path, max_shard_bytes: int, console: Console) -> Path:
    """Where an engine finds the model; of one with an adapter the base, which the adapter is swapped into.

    A quantised model is written out once, for all jobs with this cache.

    Raises:
        AdammsError: the copy cannot be written, e.g. the disk is too small.
    """
    base = checkpoint.base if isinstance(checkpoint, AdaptedCheckpoint) else checkpoint
    if not base.dequantised:
        return base.folder
    folder = cache / "dequantised" / digest_parts([base.fingerprint, fingerprint_side_files(base.folder)])
    size = sum(entry.nbytes for entry in base.tensors.values())
    with _alone(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with (
                whole_folder(folder, size) as partial,
                console.stage(f"dequantise {base.folder.name}", size, "bytes") as advance,
            ):
                write_tensors(AsItIs(base), partial, max_shard_bytes, advance=advance)
                copy_side_files(base.folder, partial)
                write_json(partial / "config.json", base.config)
    console.say(
        f"{base.folder} runs in 16 bits, from {folder} ({scaled(size, 'B')}); remove that when it is not "
        "needed any more"
    )
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other job of this cache is in such a block."""
    with explained(lock, "cannot be written"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
