"""A recipe whose arithmetic takes place on a GPU: what is merged travels there in chunks and comes back.

Owns what is done where; the order and the memory of it are the conveyor's, the formulas the methods'.

The bytes are those that the recipe itself gives, for elementwise methods: see `exactness`. Values that
expressions mix or adapters change are computed on the processor before they travel.

Memory, for each of `workers` threads: three chunks of page-locked memory and the same on the device, of all
operands in their stored dtypes; and one in float64 with the method's temporaries. Methods that are not
elementwise travel by whole tensors; their own docstrings say what they need besides.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch

from adamms.checkpoint.tensor_file import DTYPES, TensorEntry
from adamms.checkpoint.threads import default_workers
from adamms.mapping.plan import Slot
from adamms.merge.conveyor import Conveyor, Tensors, Tracks
from adamms.merge.device import CudaTracks
from adamms.merge.method import TARGET, Chunk, Statistics
from adamms.merge.recipe import Recipe, check_held
from adamms.merge.rows_to_merge import idle_rows
from adamms.merge.surveys.survey import Advance

# Of 16-bit operands 4 MiB each: long enough for a GPU to be busy with, a small part of any memory.
CHUNK_ELEMENTS = 1 << 21
# Threads that feed the device: one copies no faster than a processor's core does.
FEEDERS, WHOLE_TENSOR_FEEDERS = 8, 2
MERGED, FINITE = "merged", "finite"


class Offloaded:
    """A source of merged tensors for the checkpoint writer, like the recipe itself.

    Args:
        recipe: what is merged.
        tracks: makes tracks to the device, for one thread each.
        place: the device in words.
        chunk_elements: of a chunk, about.
    """

    def __init__(
        self,
        recipe: Recipe,
        tracks: Callable[[], Tracks],
        place: str,
        chunk_elements: int = CHUNK_ELEMENTS,
    ) -> None:
        self.recipe = recipe
        self.place = place
        self._tracks = tracks
        self._chunk_elements = chunk_elements
        # Page-locked memory is slow to get: a conveyor serves one tensor after the other.
        self._idle: list[Conveyor] = []

    @property
    def workers(self) -> int:
        """How many threads may ask for tensors; each has chunks of its own under way."""
        feeders = FEEDERS if self.recipe.method.elementwise else WHOLE_TENSOR_FEEDERS
        return min(feeders, 2 * default_workers())

    @property
    def fingerprint(self) -> str:
        """The recipe's; with the device in it where that decides the values."""
        if self.recipe.method.elementwise:
            return self.recipe.fingerprint
        return hashlib.blake2b(
            f"{self.recipe.fingerprint}\n{self.place}".encode(), digest_size=16
        ).hexdigest()

    def layout(self) -> Sequence[TensorEntry]:
        return self.recipe.layout()

    def measured(self, advance: Advance = lambda _: None) -> Recipe:
        """The recipe with what its method must know of the whole model, found on the device."""
        return self.recipe.measured(self.workers, advance, self._surveyed)

    def pieces(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        """The merged tensor `name` in chunks, on the processor: (position of the first element, 1-D tensor).

        A piece is overwritten once the next is asked for.

        Raises:
            AdammsError: the merge made an infinity or NaN that no input had.
        """
        slot = self.recipe.slots[name]
        if not self.recipe.computes(slot):
            yield from self.recipe.pieces(name)
            return
        found = self.recipe.statistics_of(slot, self._surveyed)
        width = _width(slot)

        def work(rows: range, stored: Tensors) -> Tensors:
            return self._merged(slot, rows, stored, found)

        with self._conveyor() as conveyor:
            for landed in conveyor.through(self.recipe.loads(slot, self._chunk_elements), work):
                merged = landed.results[MERGED]
                idle = idle_rows(slot, landed.key)
                if idle:
                    merged[idle] = landed.sent[TARGET][idle]
                if not landed.results[FINITE]:
                    check_held(slot, landed.key, merged, landed.sent)
                yield landed.key.start * width, merged.reshape(-1)

    def _merged(self, slot: Slot, rows: range, stored: Tensors, found: Statistics | None) -> Tensors:
        """On the device: the merged rows in the target's dtype, and whether all are finite."""
        chunk = self.recipe.chunk(slot, rows.start * _width(slot), _exact(stored), found)
        merged = self.recipe.method.merge(chunk).to(DTYPES[slot.dtype])
        return {MERGED: merged, FINITE: torch.isfinite(merged).all()}

    def _surveyed(self, slot: Slot) -> Iterator[Chunk]:
        """The slot's chunks for a survey, on the device."""
        with self._conveyor() as conveyor:
            for rows, stored in conveyor.arrivals(self.recipe.loads(slot, self._chunk_elements)):
                yield from self.recipe.surveyed_rows(slot, rows, _width(slot), _exact(stored))

    @contextmanager
    def _conveyor(self) -> Iterator[Conveyor]:
        """One that no other thread has. After an error it is not used again."""
        try:
            conveyor = self._idle.pop()
        except IndexError:
            conveyor = Conveyor(self._tracks())
        yield conveyor
        self._idle.append(conveyor)


def on_gpu(recipe: Recipe, device: torch.device) -> Offloaded:
    """The recipe, computed on a GPU."""
    name = torch.cuda.get_device_name(device)
    return Offloaded(recipe, lambda: CudaTracks(device), f"cuda {name}, CUDA {torch.version.cuda}")


def _exact(stored: Tensors) -> Tensors:
    """Copies in float64, on the same device."""
    return {name: tensor.to(torch.float64, copy=True) for name, tensor in stored.items()}


def _width(slot: Slot) -> int:
    """Elements of one row."""
    return max(1, prod(slot.shape[1:]))
