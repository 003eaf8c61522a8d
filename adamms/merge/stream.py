"""How tensors are streamed: the operands of a unit in chunks of whole rows, experts one after the other.

Owns chunk sizes and memory. Knows plans and checkpoints, but neither methods nor coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from adamms.checkpoint.adapters.adapted import BLOCK_ROWS
from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.expression import names_in
from adamms.mapping.plan import Slot
from adamms.mapping.units import Unit
from adamms.merge.method import ANCESTOR, TARGET
from adamms.merge.sources import Sources
from adamms.system.on_demand import torch

# Float64 operands of this many elements stay in a core's caches.
CHUNK_ELEMENTS = 1 << 18
# Compiled passes make no such operands, and larger chunks keep the interpreter out of the way.
COMPILED_CHUNKS = 8
# A GPU needs larger chunks to have work for all its cores.
GPU_CHUNK_ELEMENTS = 1 << 24
# Kept tensors are views of the mapped file, in pieces so that progress shows.
KEPT_PIECE_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class OperandRows:
    """Some neighbouring rows (of dimension 0) of all operands of a unit.

    Args:
        rows: which ones.
        start: position of their first element in the unit.
        stored: operand -> its values in the stored dtype; views of the file where that is possible.
        scratch: operand -> room for its values in float64, which the next rows overwrite.
    """

    rows: range
    start: int
    stored: Mapping[str, torch.Tensor]
    scratch: Mapping[str, torch.Tensor]

    @property
    def exact(self) -> dict[str, torch.Tensor]:
        """Operand -> its values in float64, copied anew each time into the scratch memory."""
        return {
            operand: self.scratch[operand][: values.numel()].view(values.shape).copy_(values)
            for operand, values in self.stored.items()
        }


def operand_rows(
    unit: Unit, checkpoints: Mapping[str, Checkpoint], sources: Sources, whole: bool, compiled: bool = False
) -> Iterator[OperandRows]:
    """Read a unit's operands: TARGET, each donor, and ANCESTOR if it is among the checkpoints.

    If `sources` wants some rows of the tensor only, others are left out, unless the unit is one chunk.

    Args:
        unit: what is merged.
        checkpoints: operand -> checkpoint.
        sources: where the operands are wanted.
        whole: the unit in one chunk.
        compiled: in larger chunks, for compiled passes.
    """
    expressions = {TARGET: unit.target, **unit.slot.donors}
    if ANCESTOR in checkpoints and unit.slot.ancestor is not None:
        expressions[ANCESTOR] = unit.slot.ancestor
    tensors = {
        operand: {
            name: sources.rows(checkpoints[operand], name) for name in dict.fromkeys(names_in(expression))
        }
        for operand, expression in expressions.items()
    }
    target = tensors[TARGET][unit.tensor]
    width, count = _width(unit.slot.shape), unit.slot.shape[0] if unit.slot.shape else 1
    step = max(1, count) if whole else _rows_of_a_chunk(width, sources.on_cpu, compiled)
    # Every chunk overwrites it: fresh memory would cost more than the arithmetic.
    scratch = {
        operand: torch.empty(min(step, count) * width, dtype=torch.float64, device=sources.device)
        for operand in expressions
    }
    runs = sources.runs(unit.tensor, count, whole, unit.expert)
    for start, end in ((start, run.stop) for run in runs for start in range(run.start, run.stop, step)):
        stop = min(start + step, end)
        stored = {
            operand: evaluate_rows(expression, tensors[operand], start, stop, target).to(sources.device)
            for operand, expression in expressions.items()
        }
        sources.note(sum(values.nbytes for values in stored.values()))
        yield OperandRows(range(start, stop), start * width, stored, scratch)


def expert_pieces(
    slot: Slot, units: Iterable[Unit], merged: Callable[[Unit], Iterator[tuple[range, torch.Tensor]]]
) -> Iterator[tuple[int, torch.Tensor]]:
    """A merged tensor that holds all experts, one after the other: (position of its first element, values).

    Args:
        slot: the tensor's.
        units: its own, expert by expert.
        merged: unit -> its rows with their merged values.
    """
    assert slot.experts is not None, "a slot that holds experts"
    for expert, group in groupby(units, lambda unit: unit.expert or 0):
        matrix: torch.Tensor | None = None
        for unit in group:
            places = torch.cat([torch.arange(rows.start, rows.stop) for rows in unit.rows])
            for rows, values in merged(unit):
                if matrix is None:
                    matrix = values.new_empty(slot.shape[1:])
                turned = matrix.T if slot.experts.transposed else matrix
                turned[places[rows.start : rows.stop]] = values
        if matrix is not None:
            yield expert * matrix.numel(), matrix.reshape(-1)


def stored_pieces(checkpoint: Checkpoint, name: str, sources: Sources) -> Iterator[tuple[int, torch.Tensor]]:
    """A checkpoint's own tensor in chunks: (position of the first element, 1-D tensor).

    They are views of its file, or computed where an adapter changes the tensor or its file holds codes.
    """
    if checkpoint.computes(name):
        rows = sources.rows(checkpoint, name)
        width = _width(rows.shape)
        step = _rows_of_a_chunk(width, sources.on_cpu)
        for start in range(0, len(rows), step):
            yield start * width, rows[start : start + step].reshape(-1)
        return
    flat = sources.read(checkpoint, name).contiguous().reshape(-1)
    for start in range(0, flat.numel(), KEPT_PIECE_ELEMENTS):
        yield start, flat[start : start + KEPT_PIECE_ELEMENTS]


def _width(shape: Sequence[int]) -> int:
    """Elements of one row."""
    return max(1, math.prod(shape[1:]))


def _rows_of_a_chunk(width: int, on_cpu: bool, compiled: bool = False) -> int:
    """A multiple of the rows that adapters are computed by, where that many fit."""
    elements = CHUNK_ELEMENTS * (COMPILED_CHUNKS if compiled else 1)
    if not on_cpu:
        elements = GPU_CHUNK_ELEMENTS
    rows = max(1, elements // width)
    return rows if rows < BLOCK_ROWS else rows // BLOCK_ROWS * BLOCK_ROWS
