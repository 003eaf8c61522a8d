"""Summaries of task vectors: by compiled passes over stored values where there are some, else by torch's.

Both count the same. Knows no particular survey.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

from adamms.merge import kernel
from adamms.merge.method import Chunk
from adamms.merge.task_vectors import TaskVectors
from adamms.on_demand import torch

Taken: TypeAlias = "Callable[[Chunk], Mapping[str, torch.Tensor]]"
Vectors: TypeAlias = "Mapping[str, torch.Tensor]"


class CompiledSummary(ABC):
    """A `Summary` with two ways to the same counts.

    Args:
        taken: chunk -> name -> what is counted; only of `TaskVectors` there are compiled passes.
    """

    trims: ClassVar[bool]  # whether its pass can leave small entries out

    def __init__(self, taken: Taken) -> None:
        self.taken = taken

    @property
    def stored(self) -> bool:
        compiled = isinstance(self.taken, TaskVectors) and (self.trims or not self.taken.least)
        return compiled and kernel.LIBRARY is not None

    def add(self, chunk: Chunk) -> None:
        if self.stored and kernel.fits([*chunk.models().values(), chunk.base()]):
            self.add_stored(chunk.models(), chunk.base())
        else:
            self.add_exact(self.taken(chunk.exact() if self.stored else chunk))

    @abstractmethod
    def add_stored(self, models: Vectors, base: torch.Tensor) -> None:
        """Count models' differences from the base, given their stored values."""

    @abstractmethod
    def add_exact(self, vectors: Vectors) -> None:
        """Count what was taken, in float64."""
