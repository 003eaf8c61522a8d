"""A large output file, written past the page cache where the file system allows it.

Copying gigabytes into the page cache costs more processor time than merging them, and pushes the
inputs out. Whole pages therefore go straight to the disk from an aligned buffer (O_DIRECT); the
fragments of pages at either end of a tensor, and everything on file systems that refuse, are written
the usual way. A page is only ever written in one of the two ways, so they cannot disagree. The blocks of the
whole file are allocated first: ext4 lets direct writes that allocate go one after the other only.

A file system that is memory (tmpfs) takes every byte as it comes: no page cache is passed by there, and a
mapped file costs a fault and a cleared page for every page that is written.
"""

import ctypes
import errno
import mmap
import os
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Lock

PAGE = 4096  # bytes; a multiple of every common disk's block
BUFFER_PAGES = 1024
LIBRARY = ctypes.CDLL(None)


class OutputFile:
    """A new file of a known size, to be filled in any order by any thread.

    Args:
        path: must not exist.
        size: in bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.ftruncate(self._descriptor, size)
        self.in_memory = _in_memory(path)
        self._turn = Lock() if self.in_memory else nullcontext()
        self._direct: int | None = None
        with suppress(OSError, AttributeError):  # refused by the file system, or unknown to the platform
            self._direct = None if self.in_memory else os.open(path, os.O_WRONLY | os.O_DIRECT)
        if self._direct is not None:
            _allocate(self._descriptor, size)

    @property
    def descriptors(self) -> tuple[int, int]:
        """The file's own, and the one that whole pages are written to past the page cache; -1 for none."""
        return self._descriptor, -1 if self._direct is None else self._direct

    def close(self) -> None:
        os.close(self._descriptor)
        if self._direct is not None:
            os.close(self._direct)

    def write(self, raw: memoryview, offset: int, descriptor: int | None = None) -> None:
        """Write through the page cache, unless another descriptor of the file is given."""
        with self._turn:  # the system lets one write to a file in memory at a time, and the others spin
            while raw:
                written = os.pwrite(self._descriptor if descriptor is None else descriptor, raw, offset)
                raw, offset = raw[written:], offset + written

    def write_pages(self, pages: memoryview, offset: int) -> None:
        """Write whole pages from an aligned buffer to an aligned offset, past the page cache if possible."""
        try:
            self.write(pages, offset, self._direct)
        except OSError as error:
            if self._direct is None or error.errno != errno.EINVAL:  # a disk with larger blocks than pages
                raise
            self.write(pages, offset)


def _allocate(descriptor: int, size: int) -> None:
    """Have the file system allocate the whole file now; where it refuses, every write allocates its own.

    `os.posix_fallocate` writes to every block where the file system cannot do it.
    """
    fallocate = getattr(LIBRARY, "fallocate", None)
    if fallocate is not None:
        fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size))


def _in_memory(file: Path) -> bool:
    """Whether the file system that holds the file is tmpfs."""
    device = file.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return False
    return any(number == line.split()[2] and " - tmpfs " in line for line in mounts)


def new_buffer() -> memoryview:
    """Room for what is written at once; page-aligned, as anonymous memory is."""
    return memoryview(mmap.mmap(-1, BUFFER_PAGES * PAGE))


class Span:
    """One run of bytes in an OutputFile, appended to piece by piece; `close` writes the rest.

    Args:
        file: where to.
        offset: of the first byte.
        buffer: made by `new_buffer`; another span may have it after `close`.
    """

    def __init__(self, file: OutputFile, offset: int, buffer: memoryview) -> None:
        self._file = file
        self._buffer = buffer
        self._base = offset // PAGE * PAGE  # of the buffer's first byte in the file
        self._first = self._last = offset - self._base  # the bytes in the buffer that are not yet written

    def append(self, raw: memoryview) -> None:
        """Add bytes behind those before."""
        if self._file.in_memory:  # which needs no whole pages
            self._file.write(raw, self._base + self._last)
            self._first = self._last = self._last + len(raw)
            return
        while raw:
            count = min(len(raw), len(self._buffer) - self._last)
            self._buffer[self._last : self._last + count] = raw[:count]
            self._last += count
            raw = raw[count:]
            if self._last == len(self._buffer):
                self._flush()

    def close(self) -> None:
        """Write what is left in the buffer; without it the end of the run is missing from the file."""
        self._flush()

    def _flush(self) -> None:
        """Whole pages directly, the fragments around them as usual."""
        first, last = self._first, self._last
        start = min(-(-first // PAGE) * PAGE, last)
        stop = max(last // PAGE * PAGE, start)
        self._file.write(self._buffer[first:start], self._base + first)
        self._file.write_pages(self._buffer[start:stop], self._base + start)
        self._file.write(self._buffer[stop:last], self._base + stop)
        self._base += len(self._buffer)
        self._first = self._last = 0
