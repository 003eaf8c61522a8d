"""Tracks without a GPU: on threads, to the processor or to a device of no metal (see `away`)."""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from types import TracebackType
from typing import Self

import torch
from fake_cuda import GPU, Present

from adamms.merge.conveyor import Track

CPU = torch.device("cpu")


class ThreadTracks:
    """A thread for each track, late by chance, so that what does not wait for what it needs is caught.

    Args:
        device: the processor, or away's GPU.
        jobs: where the names of the tracks are written down as jobs are done.
        pause: at most so many seconds before a job.
    """

    def __init__(self, device: torch.device = CPU, pause: float = 0.0, seed: int = 0) -> None:
        self.device = device
        self.staged = 0
        self.jobs: list[Track] = []
        self._pause, self._random = pause, random.Random(seed)
        self._threads = {track: ThreadPoolExecutor(1, track.value) for track in Track}
        self._last: list[Future[None]] = []
        self._present: Present | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads.values():
            thread.shutdown()

    def staging(self, nbytes: int) -> torch.Tensor:
        self.staged += 1
        return torch.empty(nbytes, dtype=torch.uint8)

    def run(self, track: Track, job: Callable[[], None], after: Future[None] | None = None) -> Future[None]:
        pause = self._random.uniform(0, self._pause)

        def late() -> None:
            if after is not None:
                after.result()
            time.sleep(pause)
            with Present() if self.device == GPU else nullcontext():
                job()
            self.jobs.append(track)

        signal = self._threads[track].submit(late)
        self._last.append(signal)
        return signal

    def mark(self) -> Future[None]:
        if self._present is not None:
            self._present.__exit__(None, None, None)
            self._present = None
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def follow(self, signal: Future[None]) -> None:
        signal.result()
        # From here to `mark` the caller has a chunk in hand, and may make tensors beside it.
        if self.device == GPU and self._present is None:
            self._present = Present()
            self._present.__enter__()

    def wait(self, signal: Future[None]) -> None:
        signal.result()

    def drain(self) -> None:
        for signal in self._last:
            signal.exception()
        self._last.clear()

    @property
    def busy(self) -> bool:
        return any(not signal.done() for signal in self._last)
