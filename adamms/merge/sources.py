"""Where a recipe reads its inputs from, and on which device it merges them.

A file is mapped by default. Who merges the same models again and again may hold the inputs nearer.
Knows nothing of slots or arithmetic.
"""

from dataclasses import dataclass, field

import torch

from adamms.checkpoint.reader import Checkpoint, Rows
from adamms.errors import AdammsError, check_choice

CACHES = ("mmap", "pinned", "gpu")


@dataclass(frozen=True)
class Sources:
    """Reads tensors of checkpoints onto a device.

    Args:
        device: where the inputs are wanted and the arithmetic takes place.
        cache: where an input stays after its first reading: nowhere but in the page cache (`mmap`), in
            page-locked memory (`pinned`), or on the device (`gpu`). The last two need a GPU, and room for
            all tensors that are merged, of target and donors.

    Raises:
        AdammsError: an unknown cache, or one that needs a GPU on a device that is none.
    """

    device: torch.device
    cache: str = "mmap"
    _held: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("engine.source_cache", self.cache, CACHES)
        if self.cache != "mmap" and self.device.type == "cpu":
            raise AdammsError(
                f"engine.source_cache={self.cache} needs a GPU; without one, the page cache holds what is "
                f"read (engine.source_cache=mmap)"
            )

    def read(self, checkpoint: Checkpoint, name: str) -> torch.Tensor:
        """The tensor `name` on the device, in its stored dtype; a view of the mapped file on a CPU.

        One that an adapter changes is computed, as a whole, on the CPU: on every device the same values.
        """
        key = (str(checkpoint), name)
        if key in self._held:
            return self._held[key].to(self.device, non_blocking=True)
        stored = checkpoint.read(name)
        if self.cache == "pinned":
            stored = self._held[key] = stored.pin_memory()
        tensor = stored.to(self.device, non_blocking=self.cache == "pinned")
        if self.cache == "gpu":
            self._held[key] = tensor
        return tensor

    def rows(self, checkpoint: Checkpoint, name: str) -> Rows:
        """The same row by row: on a CPU what an adapter changes is computed when asked for, and not kept."""
        if self.device.type == "cpu" and self.cache == "mmap":
            return checkpoint.rows(name)
        tensor = self.read(checkpoint, name)
        return tensor.view(1) if tensor.dim() == 0 else tensor


MAPPED_FILES = Sources(torch.device("cpu"))
