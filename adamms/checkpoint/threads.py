"""A pool for work that is already split into chunks: many threads, each with single-threaded torch.

torch's own threading splits every small operation and waits for all parts; on a busy machine that
is slower by orders of magnitude than one chunk per thread.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Told how much more is done: bytes, tensors. Called from several threads.
Advance = Callable[[int], None]


def default_workers() -> int:
    """Processors that this process may use, at most 16: merging is bound by memory, not by cores."""
    return min(len(os.sched_getaffinity(0)), 16)


@contextmanager
def chunk_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool whose work is cancelled on error; torch's thread count is restored at the end."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "adamms-chunk", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
