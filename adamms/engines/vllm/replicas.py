"""Work dealt to several workers that go on at the same time, and what comes of it as one stream.

Knows nothing of what the workers do.
"""

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Generic, TypeVar

Item = TypeVar("Item")
Worker = TypeVar("Worker")


@dataclass(frozen=True)
class _Arrival(Generic[Item]):
    """Some items of the stream number `stream`: one, or none when no more will come."""

    stream: int
    items: tuple[Item, ...]


def interleaved(streams: Sequence[Iterator[Item]]) -> Iterator[Item]:
    """The items of all streams as they come; each stream is drawn by a thread of its own.

    Raises:
        Exception: of the first stream that fails, after the items that came before; the others are not
            drawn any further.
    """
    arrivals: queue.SimpleQueue[_Arrival[Item]] = queue.SimpleQueue()
    enough = Event()

    def draw(number: int) -> None:
        try:
            for item in streams[number]:
                arrivals.put(_Arrival(number, (item,)))
                if enough.is_set():
                    break
        finally:
            arrivals.put(_Arrival(number, ()))

    with ThreadPoolExecutor(max(1, len(streams)), "adamms-replica") as pool:
        jobs = [pool.submit(draw, number) for number in range(len(streams))]
        running = len(jobs)
        try:
            while running:
                arrival = arrivals.get()
                yield from arrival.items
                if not arrival.items:
                    jobs[arrival.stream].result()
                    running -= 1
        finally:
            enough.set()


def together(workers: Sequence[Worker], action: Callable[[Worker], object]) -> None:
    """Do `action` with every worker at the same time; raise the first one's error after all are done."""
    with ThreadPoolExecutor(max(1, len(workers)), "adamms-replica") as pool:
        for job in [pool.submit(action, worker) for worker in workers]:
            job.result()
