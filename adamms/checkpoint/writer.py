"""Writes a checkpoint as sharded safetensors: streamed, verified, and whole or not there at all.

Takes any source of named tensors that come piece by piece; knows nothing of merging. The bytes
depend on names, shapes, dtypes and values alone, not on threads or on how the source was sharded.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.tensor_entry import DTYPES, TensorEntry
from adamms.errors import AdammsError
from adamms.system.on_demand import torch
from adamms.system.output_file import OutputFile, Span, new_buffer
from adamms.system.sizes import scaled
from adamms.system.threads import Advance, chunk_pool, default_workers
from adamms.system.whole_file import explained, sync

PARTIAL = ".partial"
# (name, file, offset of the first byte, room for some pages, advance) -> how many of its elements are
# written, from the first on. The others are written piece by piece.
FastWay = Callable[[str, OutputFile, int, memoryview, Advance], int]


class TensorSource(Protocol):
    """What can be written: entries say name, shape and dtype; pieces are the values."""

    def layout(self) -> Sequence[TensorEntry]: ...

    def pieces(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        """(position of the first element, contiguous 1-D tensor in the final dtype), in any order.

        A piece may lie in memory that the next one overwrites.
        """
        ...


@dataclass(frozen=True)
class Shard:
    """One output file: its header, and where each tensor's bytes go."""

    name: str
    header: bytes
    offsets: dict[str, int]
    size: int


def check_writable(folder: Path, needed_bytes: int) -> None:
    """Raise AdammsError if `folder` exists already, or its disk has less than `needed_bytes` free.

    A link at its place counts, whether or not it leads somewhere.
    """
    if os.path.lexists(folder):
        raise AdammsError(f"{folder} exists already; choose another output, or remove it")
    with explained(folder, "cannot be written"):
        parent = next(path for path in folder.absolute().parents if os.path.lexists(path))
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise AdammsError(f"{folder} cannot be written: {parent} is not a folder that you may write to")
        longest = max(len(os.fsencode(part)) for part in folder.parts)
        if longest > os.pathconf(parent, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise AdammsError(
            f"disk full: {folder} needs {scaled(needed_bytes, 'B')}, {scaled(free, 'B')} are free"
        )


@contextmanager
def whole_folder(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """A partial sibling of `folder` to fill, which becomes `folder` when the block ends without error.

    All of it is on the disk before it gets its name. On error nothing is left; after a crash only the hidden
    sibling is, which the next run removes.

    Raises:
        AdammsError: `folder` exists, another process is writing it, the disk is too small, or the system
            refuses to read or write a file in the block.
    """
    check_writable(folder, needed_bytes)
    created = [path for path in folder.parents if not path.exists()]  # the innermost first
    partial = folder.parent / f".{folder.name}{PARTIAL}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(partial):
            for leftover in partial.iterdir():
                link = leftover.is_symlink()
                shutil.rmtree(leftover) if leftover.is_dir() and not link else leftover.unlink()
            try:
                yield partial
                for written in (*partial.rglob("*"), partial):
                    sync(written)
                partial.rename(folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        sync(folder.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AdammsError(f"disk full while writing {folder}; nothing was left there") from error
        file = str(error.filename or folder).replace(f"{partial}", f"{folder}")
        raise AdammsError(f"{file}: {error.strerror or error}; nothing was left of {folder}") from error
    finally:
        for parent in () if folder.exists() else created:
            with suppress(OSError):  # something is in it, or the system refuses
                parent.rmdir()


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """The folder, made or left by a crash, for this process alone. A link there is removed, not followed."""
    if partial.is_symlink():
        partial.unlink()
    partial.mkdir(exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AdammsError(f"another run is writing {partial}; choose another output") from error
        # Between the two calls another run may have ended, and its folder have been renamed.
        if not partial.is_dir() or not os.path.samestat(os.fstat(descriptor), partial.lstat()):
            raise AdammsError(f"another run was writing {partial}; choose another output")
        yield
    finally:
        os.close(descriptor)


def plan_shards(entries: Sequence[TensorEntry], max_shard_bytes: int) -> list[Shard]:
    """Distribute tensors over files of at most `max_shard_bytes`, in the order of their names."""
    groups: list[list[TensorEntry]] = []
    size = 0
    for entry in sorted(entries, key=lambda entry: entry.name):
        if not groups or size + entry.nbytes > max_shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += entry.nbytes
    if len(groups) == 1:
        return [_shard("model.safetensors", groups[0])]
    return [
        _shard(f"model-{number:05d}-of-{len(groups):05d}.safetensors", group)
        for number, group in enumerate(groups, 1)
    ]


def _shard(name: str, entries: Sequence[TensorEntry]) -> Shard:
    # As safetensors itself orders them: the file is the one that its `save_file` would write.
    order = list(DTYPES)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    starts, position = {}, 0
    for entry in sorted(entries, key=lambda entry: (order.index(entry.dtype), entry.name)):
        span = [position, position + entry.nbytes]
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": span}
        starts[entry.name], position = span
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    offsets = {name: start + offset for name, offset in starts.items()}
    return Shard(name, struct.pack("<Q", len(text)) + text, offsets, start + position)


def write_tensors(
    source: TensorSource,
    folder: Path,
    max_shard_bytes: int,
    workers: int | None = None,
    advance: Advance = lambda _: None,
    fast: FastWay = lambda *_: 0,
) -> None:
    """Write every tensor of `source` into `folder` and check what was written.

    Args:
        source: the tensors.
        folder: an existing folder without weights.
        max_shard_bytes: upper bound of a file's size, unless one tensor alone is larger.
        workers: threads; by default two for each processor at hand.
        advance: called with the number of bytes just written.
        fast: a faster way for some tensors, which needs no torch.

    Raises:
        AdammsError: the files, read back, do not hold what was to be written.
    """
    entries = list(source.layout())
    shards = plan_shards(entries, max_shard_bytes)
    place: dict[str, tuple[OutputFile, int]] = {}
    # Twice the processors: half of the threads wait for the disk. They end before the files are closed.
    workers = workers or 2 * default_workers()
    # Used again and again: fresh memory costs as much time as the copy into it.
    buffers: SimpleQueue[memoryview] = SimpleQueue()
    for _ in range(workers):
        buffers.put(new_buffer())
    with ExitStack() as opened:
        for shard in shards:
            file = opened.enter_context(closing(OutputFile(folder / shard.name, shard.size)))
            file.write(memoryview(shard.header), 0)
            place |= {name: (file, offset) for name, offset in shard.offsets.items()}

        def by(way: FastWay, name: str) -> int:
            buffer = buffers.get()
            try:
                return way(name, *place[name], buffer, advance)
            finally:
                buffers.put(buffer)

        # The largest first, so that no thread is left alone with a large one at the end.
        sizes = {entry.name: entry.elements for entry in sorted(entries, key=lambda entry: -entry.nbytes)}
        with ThreadPoolExecutor(workers) as pool:
            done = _results(pool, {name: pool.submit(by, fast, name) for name in sizes})
        left = [name for name, elements in sizes.items() if done[name] < elements]
        if left:
            with chunk_pool(workers) as pool:
                ways = {name: partial(_write_pieces, source, done[name]) for name in left}
                _results(pool, {name: pool.submit(by, way, name) for name, way in ways.items()})
    _write_index(folder, shards, entries)
    check_written(folder, entries)


def _results(pool: ThreadPoolExecutor, jobs: Mapping[str, Future[int]]) -> dict[str, int]:
    """What each job returns; on error the jobs that wait are cancelled."""
    try:
        for job in as_completed(jobs.values()):
            job.result()
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return {name: job.result() for name, job in jobs.items()}


def _write_pieces(
    source: TensorSource,
    first: int,
    name: str,
    file: OutputFile,
    offset: int,
    buffer: memoryview,
    advance: Advance,
) -> int:
    """Write the elements from `first` on; those before it are written. Returns how many are by then."""
    span, expected, done = Span(file, offset, buffer), 0, first
    for position, piece in source.pieces(name):
        position, piece = max(position, first), piece[max(0, first - position) :]
        if position != expected:
            span.close()
            span = Span(file, offset + position * piece.element_size(), buffer)
        expected = position + piece.numel()
        done += piece.numel()
        raw = piece.view(torch.uint8).numpy().data
        span.append(raw)
        advance(raw.nbytes)
    span.close()
    return done


def _write_index(folder: Path, shards: Sequence[Shard], entries: Sequence[TensorEntry]) -> None:
    if len(shards) == 1:
        return
    weight_map = {name: shard.name for shard in shards for name in shard.offsets}
    index = {
        "metadata": {"total_size": sum(entry.nbytes for entry in entries)},
        "weight_map": dict(sorted(weight_map.items())),
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def check_written(folder: Path, entries: Sequence[TensorEntry]) -> None:
    """Raise AdammsError unless the folder's files are whole and hold these tensors and no others."""
    written = open_checkpoint(folder).tensors
    wanted = {entry.name: (entry.shape, entry.dtype) for entry in entries}
    found = {name: (entry.shape, entry.dtype) for name, entry in written.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise AdammsError(f"{folder}: holds other tensors than were to be written: {', '.join(wrong[:3])}")
