"""Sketches: every matrix and vector of a checkpoint in a few numbers per row, which cosines follow from.

Streamed, each byte read once. Owns the projection and its statistics; knows nothing of names, roles or plans.
A stack of experts is as many matrices.

A row of C values becomes k = 16 numbers: value c, with a random sign that depends on the width C alone,
is added to bucket c mod k (a count sketch; Charikar, Chen and Farach-Colton, 2002). That costs one
multiplication and one addition per value, whatever k is. Sketching is linear and acts on each row alone, so
the sketch of a slice of rows is the slice of the sketch, and rows of any two tensors of the same width
can be compared. The inner product of two sketches has the mean of the true one, and for n unrelated rows
a deviation of about 1 / sqrt(k n) in units of the norms. Rows of up to k values are kept as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import MERGEABLE, TensorEntry
from adamms.mapping.expression import Expression, Pick, Read, Transpose
from adamms.system.on_demand import torch
from adamms.system.threads import Advance, chunk_pool, default_workers

BUCKETS = 16
# Float32 values of this many elements, with their products, stay in a core's caches.
CHUNK_ELEMENTS = 1 << 18
# What one thread takes on at a time: large enough to be worth it, small enough to share a tensor out.
JOB_ELEMENTS = 1 << 24
# The least rows and columns of a matrix in a stack; the kernels of convolutions are smaller.
LEAST_STACKED = 8


@dataclass(frozen=True)
class Sketch:
    """One tensor, or one matrix of a stack, in brief.

    Args:
        name: in the checkpoint; of the matrix e of a stack `NAME[e]`.
        shape: of the tensor or of the matrix.
        rows: (R, k) float32, one line per row of the tensor seen as (R, rest); of a tensor with one
            dimension the n values themselves, (n, 1).
        source: the tensor, a matrix of it, or either transposed.
    """

    name: str
    shape: tuple[int, ...]
    rows: torch.Tensor
    source: Expression

    @property
    def vector(self) -> bool:
        return len(self.shape) == 1


@dataclass(frozen=True)
class SketchedModel:
    """A checkpoint with the sketches of each tensor that can be merged: one, or of a stack one per matrix.

    Args:
        checkpoint: what was read.
        sketches: by their names, a tensor's next to each other.
    """

    checkpoint: Checkpoint
    sketches: Mapping[str, Sketch]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.checkpoint.tensors[name].shape

    def parts(self, name: str) -> tuple[Sketch, ...]:
        """The sketches of the tensor `name`."""
        shape = self.shape(name)
        names = [f"{name}[{e}]" for e in range(shape[0])] if stacked(shape) else [name]
        return tuple(self.sketches[part] for part in names if part in self.sketches)

    def transposed(self, sketches: Sequence[Sketch]) -> list[Sketch]:
        """Sketches of these matrices, transposed; reads them again, one at a time."""

        def work(sketch: Sketch) -> Sketch:
            values = _matrix(self.checkpoint, sketch.source)
            return Sketch(sketch.name, values.T.shape, sketch_columns(values), Transpose(sketch.source))

        with chunk_pool(default_workers()) as pool:
            return list(pool.map(work, sketches))

    @cached_property
    def matrices(self) -> tuple[Sketch, ...]:
        return tuple(sketch for sketch in self.sketches.values() if not sketch.vector)

    @cached_property
    def vectors(self) -> tuple[Sketch, ...]:
        return tuple(sketch for sketch in self.sketches.values() if sketch.vector)

    def __str__(self) -> str:
        said = self.checkpoint.dequantised
        return f"{self.checkpoint.folder} (by content{f'; {said}' if said else ''})"


def stacked(shape: Sequence[int]) -> bool:
    """Whether a tensor is a stack of matrices, as experts in one tensor are."""
    return len(shape) == 3 and min(shape[1:]) >= LEAST_STACKED


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
    rows = {
        entry.name: torch.empty(entry.elements // _columns(entry), _width(_columns(entry)))
        for entry in entries
    }

    def work(job: tuple[TensorEntry, int, int]) -> None:
        entry, start, stop = job
        values = checkpoint.rows(entry.name)[start:stop].reshape(-1, _columns(entry))
        each = len(rows[entry.name]) // entry.shape[0]
        sketch_rows(values, out=rows[entry.name][start * each : stop * each])
        advance((stop - start) * entry.nbytes // entry.shape[0])

    in_file = sorted(entries, key=lambda entry: (str(entry.file), entry.offset))
    with chunk_pool(workers or default_workers()) as pool:
        list(pool.map(work, (job for entry in in_file for job in _jobs(entry))))
    sketches = (sketch for entry in entries for sketch in _sketches(entry, rows[entry.name]))
    return SketchedModel(checkpoint, {sketch.name: sketch for sketch in sketches})


def _sketches(entry: TensorEntry, rows: torch.Tensor) -> Iterable[Sketch]:
    """What is compared of a tensor: all of it, or each matrix of a stack."""
    if not stacked(entry.shape):
        return [Sketch(entry.name, entry.shape, rows, Read(entry.name))]
    return (
        Sketch(f"{entry.name}[{e}]", entry.shape[1:], part, Pick(Read(entry.name), e))
        for e, part in enumerate(rows.chunk(entry.shape[0]))
    )


def _columns(entry: TensorEntry) -> int:
    return entry.shape[-1] if stacked(entry.shape) else entry.elements // entry.shape[0]


def _width(columns: int) -> int:
    return min(columns, BUCKETS)


def _matrix(checkpoint: Checkpoint, source: Expression) -> torch.Tensor:
    match source:
        case Pick(Read(name), e):
            return checkpoint.rows(name)[e : e + 1][0]
        case Read(name):
            return checkpoint.rows(name)[:]
    raise AssertionError(source)


def sketch_rows(values: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """The sketch (R, k) of `values` (R, C); values that are not finite count as 0. C <= k is kept as it is.

    Works through a few rows at a time, and what it gives does not depend on how many.
    """
    rows, columns = values.shape
    if out is None:
        out = torch.empty(rows, _width(columns))
    if columns <= BUCKETS:
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


def sketch_columns(values: torch.Tensor) -> torch.Tensor:
    """What `sketch_rows` gives (C, k) of the transpose of `values` (R, C), read row by row."""
    rows, columns = values.shape
    if rows <= BUCKETS:
        return sketch_rows(values.T)
    signs = random_signs(rows)[:, None]
    sums = torch.zeros(BUCKETS, columns)
    step = max(1, CHUNK_ELEMENTS // (columns * BUCKETS)) * BUCKETS
    for start in range(0, rows, step):
        signed = values[start : start + step].to(torch.float32) * signs[start : start + step]
        whole = len(signed) - len(signed) % BUCKETS
        sums += signed[:whole].view(-1, BUCKETS, columns).sum(0)
        sums[: len(signed) - whole] += signed[whole:]
    return sums.T.contiguous().nan_to_num_(0.0, 0.0, 0.0)


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
