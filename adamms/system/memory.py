"""Memory that is freed and needed again at once: malloc keeps it instead of giving it back to the system."""

import ctypes
from contextlib import suppress

# Numbers of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 32 << 20  # bytes: the most that glibc takes for it, and where it arrives by itself if blocks grow


def keep_freed_memory() -> None:
    """Have this process use the memory of one chunk for the next: fresh pages cost as much as filling them.

    Larger blocks still go back. Does nothing where the C library is another than glibc.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, 2 * LARGEST)
