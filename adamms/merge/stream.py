"""How tensors are streamed: the operands of a slot in chunks of whole rows.

Owns chunk sizes and memory. Knows slots and checkpoints, but neither methods nor coefficients.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from adamms.checkpoint.adapted import BLOCK_ROWS
from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.expression import evaluate_rows, names_in
from adamms.mapping.plan import Slot
from adamms.merge.method import ANCESTOR, TARGET
from adamms.merge.sources import Sources

# Float64 operands of this many elements stay in a core's caches.
CHUNK_ELEMENTS = 1 << 18
# A GPU needs larger chunks to have work for all its cores.
GPU_CHUNK_ELEMENTS = 1 << 24
# Kept tensors are views of the mapped file, in pieces so that progress shows.
KEPT_PIECE_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class OperandRows:
    """Some neighbouring rows (of dimension 0) of all operands of a slot.

    Args:
        rows: which ones.
        start: position of their first element in the slot.
        stored: operand -> its values in the stored dtype; views of the file where that is possible.
        exact: operand -> the same in float64, in memory that the next rows overwrite.
    """

    rows: range
    start: int
    stored: Mapping[str, torch.Tensor]
    exact: Mapping[str, torch.Tensor]


def operand_rows(
    slot: Slot, checkpoints: Mapping[str, Checkpoint], sources: Sources, whole: bool
) -> Iterator[OperandRows]:
    """Read a slot's operands: TARGET, each donor of the slot, and ANCESTOR if it is among the checkpoints.

    Args:
        slot: one that is merged.
        checkpoints: operand -> checkpoint.
        sources: where the operands are wanted.
        whole: the slot in one chunk.
    """
    target = sources.rows(checkpoints[TARGET], slot.name)
    expressions = dict(slot.donors)
    if ANCESTOR in checkpoints and slot.ancestor is not None:
        expressions[ANCESTOR] = slot.ancestor
    tensors = {
        operand: {
            name: sources.rows(checkpoints[operand], name) for name in dict.fromkeys(names_in(expression))
        }
        for operand, expression in expressions.items()
    }
    width = _width(target.shape)
    step = max(1, len(target)) if whole else _rows_of_a_chunk(width, sources.device)
    # Every chunk overwrites it: fresh memory would cost more than the arithmetic.
    scratch = {
        operand: torch.empty(min(step, len(target)) * width, dtype=torch.float64, device=sources.device)
        for operand in (TARGET, *expressions)
    }
    for start in range(0, len(target), step):
        stop = min(start + step, len(target))
        stored = {TARGET: target[start:stop]} | {
            operand: evaluate_rows(expression, tensors[operand], start, stop, target)
            for operand, expression in expressions.items()
        }
        exact = {
            operand: scratch[operand][: values.numel()].view(values.shape).copy_(values)
            for operand, values in stored.items()
        }
        yield OperandRows(range(start, stop), start * width, stored, exact)


def stored_pieces(checkpoint: Checkpoint, name: str, sources: Sources) -> Iterator[tuple[int, torch.Tensor]]:
    """A checkpoint's own tensor in chunks: (position of the first element, 1-D tensor).

    They are views of its file, or computed where an adapter changes the tensor.
    """
    if name in checkpoint.adapted:
        rows = sources.rows(checkpoint, name)
        width = _width(rows.shape)
        step = _rows_of_a_chunk(width, sources.device)
        for start in range(0, len(rows), step):
            yield start * width, rows[start : start + step].reshape(-1)
        return
    flat = sources.read(checkpoint, name).contiguous().reshape(-1)
    for start in range(0, flat.numel(), KEPT_PIECE_ELEMENTS):
        yield start, flat[start : start + KEPT_PIECE_ELEMENTS]


def _width(shape: Sequence[int]) -> int:
    """Elements of one row."""
    return max(1, math.prod(shape[1:]))


def _rows_of_a_chunk(width: int, device: torch.device) -> int:
    """A multiple of the rows that adapters are computed by, where that many fit."""
    elements = CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    rows = max(1, elements // width)
    return rows if rows < BLOCK_ROWS else rows // BLOCK_ROWS * BLOCK_ROWS
