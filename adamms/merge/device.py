"""The device that `merge.device` names, and a recipe computed on it for the checkpoint writer.

Elementwise methods give the same bytes on every device; see `exactness`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.errors import AdammsError
from adamms.merge.from_files import write_from_files
from adamms.merge.method import Statistics, Survey
from adamms.merge.nonfinite import NonFiniteInputs
from adamms.merge.recipe import WHOLE_TENSOR_WORKERS, Recipe
from adamms.merge.sources import Sources
from adamms.merge.surveys.survey import Advance
from adamms.system.on_demand import torch
from adamms.system.output_file import OutputFile

INSTEAD = "merge on the processor: merge.device=cpu"
# Threads that read for a GPU and write what comes back. Each holds the operands of one tensor on the GPU.
GPU_WORKERS = 4


@dataclass(frozen=True)
class Computed:
    """A recipe whose merged tensors are computed on the device of `sources` and handed over on the processor.

    Tensors that are kept stay on the processor. `inputs` counts the infinite and NaN values that are read.
    """

    recipe: Recipe
    sources: Sources
    inputs: NonFiniteInputs = field(default_factory=NonFiniteInputs, repr=False, compare=False)

    @property
    def workers(self) -> int | None:
        """How many threads may compute tensors; None for the consumer's own choice."""
        if self.sources.on_cpu:
            return self.recipe.workers
        return GPU_WORKERS if self.recipe.method.elementwise else WHOLE_TENSOR_WORKERS

    @property
    def fingerprint(self) -> str:
        """The recipe's; with the GPU's name where the last bits depend on it: matrices are decomposed."""
        if self.sources.on_cpu or self.recipe.method.elementwise:
            return self.recipe.fingerprint
        place = f"cuda {torch.cuda.get_device_name(self.sources.device)}, CUDA {torch.version.cuda}"
        return hashlib.blake2b(f"{self.recipe.fingerprint}\n{place}".encode(), digest_size=16).hexdigest()

    def layout(self) -> Sequence[TensorEntry]:
        return self.recipe.layout()

    def surveyed(self, survey: Survey, advance: Advance = lambda _: None) -> Statistics:
        """What a survey finds of all that is merged, counted on the device."""
        with _enough_memory(self.sources.device):
            return self.recipe.surveyed(survey, self.workers, advance, self.sources)

    def write(self, name: str, file: OutputFile, offset: int, buffer: memoryview, advance: Advance) -> int:
        """As `write_from_files`; nothing where another device computes."""
        on_cpu = self.sources.on_cpu
        return write_from_files(self.recipe, name, file, offset, buffer, advance) if on_cpu else 0

    def pieces(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        """As `Recipe.pieces`, on the processor; a piece may lie in memory that the next one overwrites."""
        if not self.recipe.computes(self.recipe.slots[name]):
            yield from self.recipe.pieces(name, inputs=self.inputs)
            return
        with _enough_memory(self.sources.device):
            for start, piece in self.recipe.pieces(name, self.sources, self.inputs):
                yield start, piece.cpu()


@contextmanager
def _enough_memory(device: torch.device | str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise AdammsError(f"{device} has too little memory free for this merge; {INSTEAD}") from error


def check_device(given: object) -> torch.device | str:
    """The device of `merge.device`.

    Raises:
        AdammsError: anything but `cpu`, `cuda` and `cuda:N`, or a GPU that is not there.
    """
    if given == "cpu":
        return "cpu"
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
