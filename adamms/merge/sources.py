"""Where a recipe reads its operands from, and on which device it merges them.

By default, files are mapped. A search that merges the same models many times can keep their tensors in
memory. Knows nothing of slots or arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adamms.checkpoint.quantised.quantised import Rows
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_values import torch_dtype
from adamms.errors import AdammsError, check_choice
from adamms.system.on_demand import torch

CACHES = ("mmap", "pinned", "gpu")


@dataclass(frozen=True)
class Sources:
    """Reads tensors of checkpoints onto a device.

    Args:
        device: where the tensors are wanted and the arithmetic takes place; "cpu" does without torch.
        cache: where a tensor stays after it was read: only in the page cache (`mmap`), in page-locked memory
            (`pinned`), or on the device (`gpu`). The last two need a GPU, and room for all merged tensors
            of target and donors.
        wanted: target's tensor -> the rows (of dimension 0) of the merged one that will be looked at, in
            disjoint runs; of a tensor that is not there, all. The others may hold anything.

    Raises:
        AdammsError: an unknown cache, or one that needs a GPU on another device.
    """

    device: torch.device | str
    cache: str = "mmap"
    wanted: Mapping[str, Sequence[range]] = field(default_factory=dict)
    _held: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("engine.source_cache", self.cache, CACHES)
        if self.cache != "mmap" and self.on_cpu:
            raise AdammsError(
                f"engine.source_cache={self.cache} needs a GPU; without one, the page cache holds what is "
                f"read (engine.source_cache=mmap)"
            )

    @property
    def on_cpu(self) -> bool:
        return str(self.device) == "cpu"

    def runs(self, tensor: str, count: int, whole: bool, expert: int | None = None) -> Sequence[range]:
        """Which rows of a unit have to be merged.

        Args:
            tensor: of the target, which the unit is in.
            count: rows of the unit.
            whole: all or none.
            expert: of a tensor that holds all experts, the row of it that the unit is in.
        """
        wanted = self.wanted.get(tensor)
        if wanted is None:
            return [range(count)]
        if expert is not None:
            return [range(count)] if any(expert in run for run in wanted) else []
        return [range(count)] if whole and wanted else wanted

    def note(self, size: int) -> None:
        """Told how many bytes of a model's tensors are read next."""

    def kept(self, target: Checkpoint, name: str) -> torch.Tensor:
        """The target's own tensor `name` on the device; what is not wanted of it may hold anything."""
        entry, stored = target.tensors[name], target.rows(name)
        runs = self.runs(name, len(stored), whole=False)
        self.note(entry.nbytes // max(1, len(stored)) * sum(map(len, runs)))
        if self.cache != "mmap" or self.on_cpu or name not in self.wanted or not entry.shape:
            return self.read(target, name)
        part = torch.empty(entry.shape, dtype=torch_dtype(entry.dtype), device=self.device)
        for run in runs:
            part[run.start : run.stop] = stored[run.start : run.stop]
        return part

    def read(self, checkpoint: Checkpoint, name: str) -> torch.Tensor:
        """The tensor `name` on the device, in its stored dtype; a view of the mapped file on a CPU.

        A tensor that an adapter changes is computed as a whole on the CPU, so that all devices get the same.
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
        """The same row by row. On a CPU, rows that an adapter changes are computed when asked for.

        Where not all are wanted, they are left in the files.
        """
        if self.cache == "mmap" and (self.on_cpu or self.wanted):
            return checkpoint.rows(name)
        tensor = self.read(checkpoint, name)
        return tensor.view(1) if tensor.dim() == 0 else tensor


MAPPED_FILES = Sources("cpu")
