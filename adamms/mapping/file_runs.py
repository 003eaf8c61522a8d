"""Where the values of an expression lie in files, if they lie there row by row: torch need not read them."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry, cut_short, reading
from adamms.mapping.expression import Concat, Expression, Pick, Read, Slice, Stack, met_parts, shape_of

# NumPy's dtype of what is stored as safetensors' name says; the upper half of a float32 is a BF16.
STORED = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True)
class FileRun:
    """Neighbouring elements of one tensor in a file.

    Args:
        entry: the tensor, whose elements lie row by row.
        first: the first one, counted from the tensor's first.
        count: how many.
    """

    entry: TensorEntry
    first: int
    count: int

    @property
    def is_float(self) -> bool:
        return self.entry.dtype in STORED

    @property
    def offset(self) -> int:
        """Position of the first element in the file, in bytes."""
        return self.entry.offset + self.first * self.entry.itemsize

    @property
    def nbytes(self) -> int:
        return self.count * self.entry.itemsize

    def part(self, first: int, count: int) -> "FileRun":
        """Some of its elements."""
        return FileRun(self.entry, self.first + first, count)


def open_files(runs: Sequence[FileRun], stack: ExitStack) -> Mapping[Path, int]:
    """The files of all runs -> a descriptor, until the stack is closed.

    Raises:
        AdammsError: a file cannot be read, or is shorter than its header says.
    """
    ends: dict[Path, int] = {}
    for run in runs:
        ends[run.entry.file] = max(ends.get(run.entry.file, 0), run.offset + run.nbytes)
    files: dict[Path, int] = {}
    for path, end in ends.items():
        with reading(path):
            files[path] = os.open(path, os.O_RDONLY)
            stack.callback(os.close, files[path])
            if os.fstat(files[path]).st_size < end:
                raise cut_short(path)
    return files


def read_floats(runs: Sequence[FileRun]) -> npt.NDArray[np.float32]:
    """The values of all runs, one after the other, as float32; of floats only, see `FileRun.is_float`.

    Raises:
        AdammsError: a file cannot be read, or is shorter than its header says.
    """
    with ExitStack() as opened:
        files = open_files(runs, opened)
        same = groupby(runs, key=lambda run: run.entry.dtype)  # few conversions of much, not many of little
        found = [_floats(dtype, _read([*group], files)) for dtype, group in same]
    return found[0] if len(found) == 1 else np.concatenate(found)


def _read(runs: Sequence[FileRun], files: Mapping[Path, int]) -> bytearray:
    """The bytes of all runs, of which the system gives at most 2 GiB at once."""
    raw = bytearray(sum(run.nbytes for run in runs))
    left = memoryview(raw)
    for path, group in groupby(runs, key=lambda run: run.entry.file):
        with reading(path):
            for run in group:
                done, nbytes = 0, run.nbytes
                while done < nbytes:
                    count = os.preadv(files[path], [left[done:nbytes]], run.offset + done)
                    if not count:
                        raise cut_short(path)
                    done += count
                left = left[nbytes:]
    return raw


def _floats(dtype: str, raw: bytearray) -> npt.NDArray[np.float32]:
    stored = np.frombuffer(raw, STORED[dtype])
    if dtype == "BF16":
        upper = stored.astype(np.uint32)
        upper <<= 16
        return upper.view(np.float32)
    with np.errstate(over="ignore"):
        return stored.astype(np.float32)


def cut(runs: Sequence[FileRun], first: int, count: int) -> Iterator[FileRun]:
    """`count` elements from `first` on of what lies in runs one after the other."""
    for run in runs:
        start, stop = max(first, 0), min(first + count, run.count)
        if start < stop:
            yield run.part(start, stop - start)
        first -= run.count


def runs_of(expression: Expression, checkpoint: Checkpoint, start: int, stop: int) -> list[FileRun] | None:
    """Where rows `start:stop` of the value lie, one run after the other; None where they lie otherwise.

    Args:
        checkpoint: whose tensors the expression reads.
    """
    match expression:
        case Read(name):
            entry = checkpoint.tensors.get(name)
            if entry is None or checkpoint.computes(name) or not entry.by_rows:
                return None
            width = math.prod(entry.shape[1:])
            return [FileRun(entry, start * width, (stop - start) * width)]
        case Slice(source, 0, first, _):
            return runs_of(source, checkpoint, first + start, first + stop)
        case Concat(parts, 0):
            lengths = (shape_of(part, checkpoint.shape)[0] for part in parts)
            return _joined(
                [runs_of(part, checkpoint, *met) for part, *met in met_parts(parts, lengths, start, stop)]
            )
        case Stack(parts):
            length = shape_of(parts[0], checkpoint.shape)[0]
            return _joined([runs_of(part, checkpoint, 0, length) for part in parts[start:stop]])
        case Pick(source, index):
            runs, shape = runs_of(source, checkpoint, index, index + 1), shape_of(source, checkpoint.shape)
            if runs is None or len(runs) != 1:
                return None
            width = math.prod(shape[2:])
            return [runs[0].part(start * width, (stop - start) * width)]
        case _:
            return None


def _joined(parts: Sequence[list[FileRun] | None]) -> list[FileRun] | None:
    known = [part for part in parts if part is not None]
    return [run for part in known for run in part] if len(known) == len(parts) else None
