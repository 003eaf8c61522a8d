"""Memory that is freed and needed again at once: malloc keeps it instead of giving it back to the system."""

import ctypes
import os
from contextlib import suppress

# Numbers of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 32 << 20  # bytes: the most that glibc takes for it, and where it arrives by itself if blocks grow


def keep_freed_memory() -> None:
    """Have this process use the memory of one chunk for the next: fresh pages cost as much as filling them.

    Each thread may keep up to 64 MB that are free; larger blocks go back. Does nothing where the environment
    tunes malloc (MALLOC_..., GLIBC_TUNABLES), or where the C library is another than glibc.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, 2 * LARGEST)
