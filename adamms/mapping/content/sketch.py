"""Sketches: every tensor of a checkpoint in a few numbers per row, from which cosines can be estimated.

Streamed, each byte read once. Owns the projection and its statistics; knows nothing of names, roles or plans.

A row of C values becomes k = 16 numbers: value c, with a random sign that depends on the width C alone,
is added to bucket c mod k (a count sketch; Charikar, Chen and Farach-Colton, 2002). That costs one
multiplication and one addition per value, whatever k is. Sketching is linear and acts on each row alone, so
the sketch of a slice of rows is the slice of the sketch, and rows of any two tensors of the same width
can be compared. The inner product of two sketches has the mean of the true one, and for n unrelated rows
a deviation of about 1 / sqrt(k n) in units of the norms.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_file import MERGEABLE, TensorEntry
from adamms.checkpoint.threads import Advance, chunk_pool, default_workers

BUCKETS = 16
# Float32 values of this many elements, with their products, stay in a core's caches.
CHUNK_ELEMENTS = 1 << 18
# What one thread takes on at a time: large enough to be worth it, small enough to share a tensor out.
JOB_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Sketch:
    """One tensor in brief.

    Args:
        name: in the checkpoint.
        shape: of the tensor.
        rows: (R, k) float32, one line per row of the tensor seen as (R, rest); of a tensor with one
            dimension the n values themselves, (n, 1).
    """

    name: str
    shape: tuple[int, ...]
    rows: torch.Tensor

    @property
    def vector(self) -> bool:
        return len(self.shape) == 1


@dataclass(frozen=True)
class SketchedModel:
    """A checkpoint with the sketch of each tensor that can be merged."""

    checkpoint: Checkpoint
    sketches: Mapping[str, Sketch]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.checkpoint.tensors[name].shape

    @cached_property
    def matrices(self) -> tuple[Sketch, ...]:
        return tuple(sketch for sketch in self.sketches.values() if not sketch.vector)

    @cached_property
    def vectors(self) -> tuple[Sketch, ...]:
        return tuple(sketch for sketch in self.sketches.values() if sketch.vector)

    def __str__(self) -> str:
        return f"{self.checkpoint.folder} (by content)"


def sketchable(entry: TensorEntry) -> bool:
    """Numbers that can be merged, in one dimension or more."""
    return entry.dtype in MERGEABLE and bool(entry.shape) and entry.elements > 0


def bytes_to_read(checkpoint: Checkpoint) -> int:
    return sum(entry.nbytes for entry in checkpoint.tensors.values() if sketchable(entry))


def sketch_model(
    checkpoint: Checkpoint, advance: Advance = lambda count: None, workers: int | None = None
) -> SketchedModel:
    """Sketch every tensor of `checkpoint`, in the order of the files, reading each byte once.

    Args:
        checkpoint: what to read.
        advance: told of every piece that is done, in bytes of the files; called from several threads.
        workers: threads; the processors at hand by default.
    """
    entries = [entry for entry in checkpoint.tensors.values() if sketchable(entry)]
    sketches = {}
    for entry in entries:
        width = 1 if entry.elements == entry.shape[0] else BUCKETS
        sketches[entry.name] = Sketch(entry.name, entry.shape, torch.empty(entry.shape[0], width))
    entries.sort(key=lambda entry: (str(entry.file), entry.offset))

    def work(job: tuple[TensorEntry, int, int]) -> None:
        entry, start, stop = job
        values = checkpoint.rows(entry.name)[start:stop].reshape(stop - start, -1)
        sketch_rows(values, out=sketches[entry.name].rows[start:stop])
        advance((stop - start) * entry.nbytes // entry.shape[0])

    with chunk_pool(workers or default_workers()) as pool:
        list(pool.map(work, (job for entry in entries for job in _jobs(entry))))
    return SketchedModel(checkpoint, sketches)


def sketch_rows(values: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """The sketch (R, k) of `values` (R, C); values that are not finite count as 0. C = 1 is kept as it is.

    Works through a few rows at a time, and what it gives does not depend on how many.
    """
    rows, columns = values.shape
    if out is None:
        out = torch.empty(rows, 1 if columns == 1 else BUCKETS)
    if columns == 1:
        out.copy_(values)
    else:
        signs = random_signs(columns)
        whole = columns - columns % BUCKETS
        step = max(1, CHUNK_ELEMENTS // columns)
        for start in range(0, rows, step):
            signed = values[start : start + step].to(torch.float32, copy=True).mul_(signs)
            part = out[start : start + step]
            torch.sum(signed[:, :whole].unflatten(1, (whole // BUCKETS, BUCKETS)), 1, out=part)
            part[:, : columns - whole] += signed[:, whole:]
    return out.nan_to_num_(0.0, 0.0, 0.0)


def random_signs(columns: int) -> torch.Tensor:
    """Random signs for rows of `columns` values: the same in every process, so that sketches can be kept."""
    generator = torch.Generator().manual_seed(columns)
    return torch.randint(0, 2, (columns,), generator=generator, dtype=torch.float32).mul_(2).sub_(1)


def _jobs(entry: TensorEntry) -> Iterator[tuple[TensorEntry, int, int]]:
    """The tensor in ranges of rows."""
    rows = entry.shape[0]
    step = max(1, JOB_ELEMENTS * rows // entry.elements)
    for start in range(0, rows, step):
        yield entry, start, min(start + step, rows)
