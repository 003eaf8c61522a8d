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
from adamms.system.on_demand import torch

Taken: TypeAlias = "Callable[[Chunk], Mapping[str, torch.Tensor]]"
Vectors: TypeAlias = "Mapping[str, torch.Tensor]"


class CompiledSummary(ABC):
    """A `Summary` with two ways to the same counts.

    Args:
        taken: chunk -> name -> what is counted; only of `TaskVectors` there are compiled passes.
    """

    trims: ClassVar[bool]  # whether its pass can leave elements out

    def __init__(self, taken: Taken) -> None:
        self.taken = taken

    @property
    def stored(self) -> bool:
        compiled = isinstance(self.taken, TaskVectors) and (self.trims or not self.taken.trims)
        return compiled and kernel.LIBRARY is not None

    def add(self, chunk: Chunk) -> None:
        if self.stored and isinstance(self.taken, TaskVectors):
            models, base = self.taken.operands(chunk)
            if kernel.fits([*models.values(), base]):
                return self.add_stored(self.taken, chunk)
            chunk = chunk.exact()
        return self.add_exact(self.exactly_taken(chunk))

    def exactly_taken(self, chunk: Chunk) -> Vectors:
        """What is counted, in float64."""
        return self.taken(chunk)

    @abstractmethod
    def add_stored(self, vectors: TaskVectors, chunk: Chunk) -> None:
        """Count differences from their base, given stored values."""

    @abstractmethod
    def add_exact(self, vectors: Vectors) -> None:
        """Count what was taken."""
