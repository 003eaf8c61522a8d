"""The device that `merge.device` names, and its tracks: CUDA streams, events and page-locked memory.

Knows nothing of what is carried.
"""

import re
from collections.abc import Callable

import torch

from adamms.errors import AdammsError
from adamms.merge.conveyor import Signal, Track

INSTEAD = "merge on the processor: merge.device=cpu"


def check_device(given: object) -> torch.device:
    """The device of `merge.device`.

    Raises:
        AdammsError: anything but `cpu`, `cuda` and `cuda:N`, or a GPU that is not there.
    """
    if given == "cpu":
        return torch.device("cpu")
    if not isinstance(given, str) or not re.fullmatch(r"cuda(:\d+)?", given):
        raise AdammsError(f"merge.device is {given!r}; expected cpu, cuda or cuda:N, N from 0")
    if torch.version.cuda is None:
        raise AdammsError(
            f"merge.device={given}: this PyTorch, {torch.__version__}, is built without CUDA; "
            f"install one with it, or {INSTEAD}"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise AdammsError(f"merge.device={given}: PyTorch finds no GPU (nvidia-smi?); {INSTEAD}")
    device = torch.device(given)
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= count:
        names = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise AdammsError(f"merge.device={given}: there is {names}; choose one, or {INSTEAD}")
    return torch.device("cuda", index)


class CudaTracks:
    """A stream for each track; see `Tracks`.

    Args:
        device: with its index.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._streams = {track: torch.cuda.Stream(device) for track in Track}

    def staging(self, nbytes: int) -> torch.Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)

    def run(self, track: Track, job: Callable[[], None], after: Signal | None = None) -> Signal:
        stream = self._streams[track]
        with torch.cuda.stream(stream):
            if after is not None:
                stream.wait_event(after)
            try:
                job()
            except torch.OutOfMemoryError as error:
                raise AdammsError(
                    f"{self.device} has too little memory free for this merge; {INSTEAD}"
                ) from error
            return stream.record_event()

    def mark(self) -> Signal:
        return torch.cuda.current_stream(self.device).record_event()

    def follow(self, signal: Signal) -> None:
        torch.cuda.current_stream(self.device).wait_event(signal)

    def wait(self, signal: Signal) -> None:
        signal.synchronize()

    def drain(self) -> None:
        for stream in self._streams.values():
            stream.synchronize()
