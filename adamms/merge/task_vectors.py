"""Task vectors as surveys and formulas take them: differences from the ancestor, the small ones trimmed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adamms.merge.method import Chunk
from adamms.on_demand import torch


@dataclass(frozen=True)
class TaskVectors:
    """Chunk -> TARGET and every donor -> its task vector, in which entries below a magnitude are 0.

    A call overwrites the chunk, whose tensors are float64.

    Args:
        least: model -> the least magnitude that is kept; empty to keep all.
    """

    least: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        vectors = chunk.task_vectors()
        for name in vectors if self.least else ():
            # NaN passes on.
            vectors[name] = torch.nn.functional.hardshrink(vectors[name], self.zero_up_to(name))
        return vectors

    def zero_up_to(self, name: str) -> float:
        """The greatest magnitude that is trimmed."""
        return math.nextafter(self.least[name], 0.0)

    def all_zero_up_to(self, names: Iterable[str]) -> list[float] | None:
        """The same of several models; None if nothing is trimmed."""
        return [self.zero_up_to(name) for name in names] if self.least else None
