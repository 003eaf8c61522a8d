"""An engine without a model that fails where it is told to, and knows whether another one is live.

`engine._target_=failing_engine.Failing` puts it in the place of engine=transformers. $FAILING_ENGINE has the
name of the model's folder, what it fails at (`start`, or an example's id), and the kind of error, or `deaf`:
from then on a candidate stays in it.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from slow_engine import Slow, SlowEngine

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe

WHERE = "FAILING_ENGINE"
ERRORS = {
    "sentence": AdammsError("example 'x' is refused"),
    "runtime": RuntimeError("CUDA error: an illegal memory access\nwas encountered"),
    "gpu memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "memory": MemoryError(),
    "index": IndexError("list index out of range"),
    "interrupt": KeyboardInterrupt(),
}


class FailingEngine(SlowEngine):
    """One at a time, as on a GPU that holds one model."""

    live: ClassVar[list[str]] = []

    def __init__(self, folder: Path, batch_size: int = 4, max_new_tokens: int = 4) -> None:
        super().__init__(folder, batch_size, max_new_tokens)
        self.name = folder.name
        self.deaf = False

    def __enter__(self) -> Self:
        self._fail("start")
        assert not self.live, f"{self.live} is live while {self.name} starts"
        self.live.append(self.name)
        return self

    def __exit__(self, *error: object) -> None:
        self.live.remove(self.name)

    def load(self, recipe: Recipe) -> None:
        if not self.deaf:
            super().load(recipe)

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for example, answer in super().generate(examples):
            self._fail(example)
            yield example, answer

    def _fail(self, at: str) -> None:
        folder, place, kind = os.environ.get(WHERE, "::").split(":")
        if (folder, place) != (self.name, at):
            return
        if kind != "deaf":
            raise ERRORS[kind]
        self.deaf = self.alpha > 0


class Failing(Slow):
    """The settings of the failing engine."""

    engine = FailingEngine
