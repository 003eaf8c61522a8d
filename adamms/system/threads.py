"""A pool for work that is already split into chunks: many threads, each with single-threaded torch.

torch's own threading splits every small operation and waits for all parts; on a busy machine that
is slower by orders of magnitude than one chunk per thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from adamms.system.on_demand import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

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


def in_order(
    items: Iterable[Item], compute: Callable[[Item], Result], workers: int
) -> Iterator[tuple[Item, Result]]:
    """(item, its result) in the order of the items, computed by threads a few ahead of the consumer."""
    with chunk_pool(workers) as pool:
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            ahead.append((item, pool.submit(compute, item)))
            if len(ahead) > workers:
                first, job = ahead.popleft()
                yield first, job.result()
        for item, job in ahead:
            yield item, job.result()
