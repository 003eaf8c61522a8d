"""Work dealt to several workers that go on at the same time, and what comes of it as one stream.

Knows nothing of what the workers do.
"""

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Worker = TypeVar("Worker")


def interleaved(streams: Sequence[Iterator[Item]]) -> Iterator[Item]:
    """The items of all streams as they come; each stream is drawn by a thread of its own.

    Raises:
        Exception: of the first stream that fails, after the items that came before. The others are not drawn
            any further.
    """
    arrivals: queue.SimpleQueue[list[Item] | BaseException] = queue.SimpleQueue()  # [] ends a stream
    enough = Event()

    def draw(stream: Iterator[Item]) -> None:
        try:
            for item in stream:
                arrivals.put([item])
                if enough.is_set():
                    break
            arrivals.put([])
        except BaseException as error:  # noqa: BLE001  (raised where the items are read)
            arrivals.put(error)

    with ThreadPoolExecutor(max(1, len(streams)), "adamms-replica") as pool:
        for stream in streams:
            pool.submit(draw, stream)
        try:
            for _ in streams:
                while arrival := arrivals.get():
                    if isinstance(arrival, BaseException):
                        raise arrival
                    yield from arrival
        finally:
            enough.set()


def together(workers: Sequence[Worker], action: Callable[[Worker], object]) -> None:
    """Do `action` with every worker at the same time; raise the first one's error after all are done."""
    with ThreadPoolExecutor(max(1, len(workers)), "adamms-replica") as pool:
        for job in [pool.submit(action, worker) for worker in workers]:
            job.result()
