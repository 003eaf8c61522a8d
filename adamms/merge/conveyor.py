"""A conveyor: chunks travel to a device, are worked on there and come back, several at once under way.

Owns the order of things and the memory that they take, a few trays; knows nothing of merging, nor of what
kind of device it is: that is in the `Tracks`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import cycle
from typing import Any, Generic, Protocol, TypeVar

import torch

# Chunks under way: one copied there, one at work, one copied back or in the hands of the consumer.
TRAYS = 3

# Stands for what has been queued: a CUDA event. Only the tracks that made it look inside.
Signal = Any
Tensors = dict[str, torch.Tensor]
Key = TypeVar("Key")


class Track(Enum):
    """What is queued on one track is done in order; the tracks run beside each other."""

    IN = "in"
    WORK = "work"
    OUT = "out"


class Tracks(Protocol):
    """The queues of a device, for one thread.

    Attributes:
        device: where they lead.
    """

    device: torch.device

    def staging(self, nbytes: int) -> torch.Tensor:
        """Memory of the host, uint8, that the device can copy from and to while others work."""
        ...

    def run(self, track: Track, job: Callable[[], None], after: Signal | None = None) -> Signal:
        """Queue `job`, to be done when `after` has been; what it allocates on the device is the track's.

        Returns:
            The signal that it has been done.
        """
        ...

    def mark(self) -> Signal:
        """The signal that what the caller itself has queued on the device so far has been done."""
        ...

    def follow(self, signal: Signal) -> None:
        """What the caller itself queues on the device from now on is done after `signal`."""
        ...

    def wait(self, signal: Signal) -> None:
        """Return when `signal` has been done; raise what its job raised."""
        ...

    def drain(self) -> None:
        """Return when nothing is queued any more, whether it succeeded or not."""
        ...


@dataclass
class Tray:
    """The memory of one chunk: name -> bytes, on the host and on the device; grows with what is put on it."""

    staged: Tensors = field(default_factory=dict)
    brought: Tensors = field(default_factory=dict)
    fetched: Tensors = field(default_factory=dict)


@dataclass
class Landed(Generic[Key]):
    """A chunk that came back, on the host; overwritten once the next is asked for.

    Args:
        key: what it was sent with.
        sent: its operands.
        results: what was made of them.
    """

    key: Key
    sent: Tensors
    results: Tensors


@dataclass
class Flight(Generic[Key]):
    """A chunk under way, on its tray; `results` are on the device, and kept until they have been copied."""

    key: Key
    tray: Tray
    sent: Tensors
    brought: Tensors = field(default_factory=dict)
    results: Tensors = field(default_factory=dict)
    landed: Tensors = field(default_factory=dict)
    signal: Signal = None


class Conveyor:
    """Carries one sequence of chunks after the other; for one thread.

    Args:
        tracks: of the device.
        trays: how many chunks may be under way.
    """

    def __init__(self, tracks: Tracks, trays: int = TRAYS) -> None:
        self.tracks = tracks
        self._trays = [Tray() for _ in range(trays)]

    def through(
        self,
        loads: Iterable[tuple[Key, Mapping[str, torch.Tensor]]],
        work: Callable[[Key, Tensors], Tensors],
    ) -> Iterator[Landed[Key]]:
        """The loads, in their order, after `work` on the device.

        Args:
            loads: key and operands on the host, which are copied before the next load is asked for.
            work: key and operands on the device -> results on the device.

        Raises:
            Exception: what `loads` or `work` raised. Then, and when the iterator is closed early, nothing is
                under way any more.
        """
        under_way: deque[Flight[Key]] = deque()
        trays = cycle(self._trays)
        try:
            # What the caller has queued, and `work` may use, comes first.
            self.tracks.run(Track.WORK, lambda: None, after=self.tracks.mark())
            for key, tensors in loads:
                under_way.append(self._launched(key, tensors, work, next(trays)))
                if len(under_way) == len(self._trays):
                    yield self._landed(under_way.popleft())
            while under_way:
                yield self._landed(under_way.popleft())
        finally:
            self.tracks.drain()

    def arrivals(
        self, loads: Iterable[tuple[Key, Mapping[str, torch.Tensor]]]
    ) -> Iterator[tuple[Key, Tensors]]:
        """The loads, in their order, on the device, a few ahead of the caller; they never come back.

        What the caller queues on the device with them is done before they are overwritten, which is when
        the next is asked for.
        """
        under_way: deque[Flight[Key]] = deque()
        trays = cycle(self._trays)
        try:
            for key, tensors in loads:
                under_way.append(self._departed(key, tensors, next(trays)))
                if len(under_way) == len(self._trays):
                    yield from self._handed_over(under_way.popleft())
            while under_way:
                yield from self._handed_over(under_way.popleft())
        finally:
            self.tracks.wait(self.tracks.mark())
            self.tracks.drain()

    def _departed(self, key: Key, tensors: Mapping[str, torch.Tensor], tray: Tray) -> Flight[Key]:
        """A chunk on its way there. The tray's last one is no longer used by anybody."""
        sent = {name: self._staged(tray, name, tensor) for name, tensor in tensors.items()}
        flight = Flight(key, tray, sent)

        def bring() -> None:
            for name, host in sent.items():
                room = _room(tray.brought, name, host.nbytes, self._on_device)
                flight.brought[name] = _shaped(room, host).copy_(host, non_blocking=True)

        flight.signal = self.tracks.run(Track.IN, bring)
        return flight

    def _launched(
        self,
        key: Key,
        tensors: Mapping[str, torch.Tensor],
        work: Callable[[Key, Tensors], Tensors],
        tray: Tray,
    ) -> Flight[Key]:
        flight = self._departed(key, tensors, tray)

        def compute() -> None:
            flight.results = work(key, flight.brought)

        def fetch() -> None:
            for name, result in flight.results.items():
                room = _room(tray.fetched, name, result.nbytes, self.tracks.staging)
                flight.landed[name] = _shaped(room, result).copy_(result, non_blocking=True)

        worked = self.tracks.run(Track.WORK, compute, after=flight.signal)
        flight.signal = self.tracks.run(Track.OUT, fetch, after=worked)
        return flight

    def _landed(self, flight: Flight[Key]) -> Landed[Key]:
        self.tracks.wait(flight.signal)
        return Landed(flight.key, flight.sent, flight.landed)

    def _handed_over(self, flight: Flight[Key]) -> Iterator[tuple[Key, Tensors]]:
        self.tracks.follow(flight.signal)
        yield flight.key, flight.brought
        self.tracks.wait(self.tracks.mark())

    def _staged(self, tray: Tray, name: str, tensor: torch.Tensor) -> torch.Tensor:
        room = _room(tray.staged, name, tensor.nbytes, self.tracks.staging)
        return _shaped(room, tensor).copy_(tensor)

    def _on_device(self, nbytes: int) -> torch.Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, device=self.tracks.device)


def _room(held: Tensors, name: str, nbytes: int, make: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """`nbytes` bytes of the memory held under `name`, or of new memory if that is too small."""
    if name not in held or held[name].numel() < nbytes:
        held.pop(name, None)  # first, so that the old is not there beside the new
        held[name] = make(nbytes)
    return held[name][:nbytes]


def _shaped(raw: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bytes as a contiguous tensor of the other's dtype and shape."""
    return raw.view(like.dtype).view(like.shape)
