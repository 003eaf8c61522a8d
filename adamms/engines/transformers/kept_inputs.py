"""The model's inputs of the batches asked last, as many as there is room for. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any, TypeVar

from adamms.system.on_demand import torch

Batch = TypeVar("Batch", bound=Hashable)  # examples, or examples with texts


class KeptInputs:
    """Inputs are prepared when they are needed, and kept for the next candidate while there is room.

    Every candidate is asked the same batches in the same order. So what is kept stays, and the batches for
    which there is no room are prepared each time: to drop the oldest would find none of them.

    Args:
        room: bytes that all kept tensors may take together.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: dict[Hashable, Any] = {}

    @property
    def nbytes(self) -> int:
        return sum(map(_nbytes, self._held.values()))

    def keep_only(self, batches: Collection[Hashable]) -> None:
        """Drop the inputs of all other batches."""
        wanted = set(batches)
        self._held = {batch: inputs for batch, inputs in self._held.items() if batch in wanted}

    def get(self, batch: Batch, prepare: Callable[[Batch], Any]) -> Any:
        """The batch's inputs, a mapping of tensors."""
        if batch in self._held:
            return self._held[batch]
        inputs = prepare(batch)
        if self.nbytes + _nbytes(inputs) <= self._room:
            self._held[batch] = inputs
        return inputs


def _nbytes(inputs: Any) -> int:
    return sum(value.nbytes for value in inputs.values() if isinstance(value, torch.Tensor))
