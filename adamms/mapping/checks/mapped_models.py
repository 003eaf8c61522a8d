"""Rows of the tensors that a plan merges, read from the target and from every model behind the plan.

Reads only the rows that are asked for. Does not know what they are compared for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.expression import Expression, Read, Tokens, names_in
from adamms.mapping.expression_text import to_text
from adamms.mapping.file_runs import FileRun, cut, read_floats, runs_of
from adamms.mapping.plan import ANCESTOR, Slot
from adamms.mapping.simplify import pick, transpose

# Rows (n, rest); values that are not finite count as 0, as in sketches.
Values = npt.NDArray[np.float32]
# Tensors that a message names one by one.
NAMES = 4
# Rows read of one expert: of a transposed one each touches the whole matrix.
ROWS_OF_EXPERT = 8
# Of a stack of experts, whose rows are whole matrices, so many values are read at the most, but two experts.
SAMPLED_VALUES = 1 << 22


@dataclass(frozen=True)
class MappedModels:
    """The models behind a plan.

    Args:
        target: the checkpoint that slots name tensors of.
        donors: name -> checkpoint that slots' expressions read.
        ancestor: the same for the ancestor's expressions, or None.
    """

    target: Checkpoint
    donors: Mapping[str, Checkpoint]
    ancestor: Checkpoint | None = None

    def expressions(self, slot: Slot) -> dict[str, Expression]:
        """Donor name, or "ancestor" -> what it has for the slot."""
        if self.ancestor is None or slot.ancestor is None:
            return dict(slot.donors)
        return {**slot.donors, ANCESTOR: slot.ancestor}

    def checkpoint(self, source: str) -> Checkpoint:
        """Of a donor, or of "ancestor"."""
        found = self.ancestor if source == ANCESTOR else self.donors[source]
        assert found is not None
        return found

    def tensors_read(self, slot: Slot, source: str) -> str:
        """The names of the tensors that the slot reads of `source`, for people."""
        expression = self.expressions(slot)[source]
        names = list(dict.fromkeys(names_in(expression)))
        return " + ".join(names) if len(names) <= NAMES else to_text(expression)

    def target_rows(self, slot: Slot, rows: Sequence[range]) -> Values:
        """(n, rest) float32: the target's own rows; those of a stack as `expert_rows` counts them."""
        return self._rows(slot, Read(slot.name), self.target, rows)

    def source_rows(self, slot: Slot, source: str, rows: Sequence[range]) -> Values:
        """(n, rest) float32: the value of the slot's expression over `source`."""
        return self._rows(slot, self.expressions(slot)[source], self.checkpoint(source), rows)

    def _rows(
        self, slot: Slot, expression: Expression, checkpoint: Checkpoint, rows: Sequence[range]
    ) -> Values:
        runs = _float_runs(slot, expression, checkpoint, rows)
        if runs is not None:
            found = read_floats(runs)
        else:
            parts = [_part(slot, expression, checkpoint, part) for part in rows]
            target, rows_of = self.target.rows(slot.name), cache(checkpoint.rows)  # each file is mapped once
            tensors = [{name: rows_of(name) for name in names_in(part.value)} for part in parts]
            values = [
                evaluate_rows(part.value, read, part.first, part.stop, target).float().reshape(-1)
                for part, read in zip(parts, tensors, strict=True)
            ]
            found = np.concatenate([each.numpy() for each in values])
        found = found.reshape(sum(map(len, rows)), -1)
        finite = np.isfinite(found)
        if not finite.all():
            found[~finite] = 0
        return found

    def lie_in_files(self, slots: Sequence[Slot]) -> bool:
        """Whether all that the slots read lies in files row by row: torch is then not needed."""
        return all(
            runs is not None and all(run.is_float for run in runs) and not is_stack(slot)
            for slot in slots
            for expression, checkpoint in self._operands(slot)
            for runs in [runs_of(expression, checkpoint, 0, slot.shape[0])]
        )

    def _operands(self, slot: Slot) -> list[tuple[Expression, Checkpoint]]:
        others = [(each, self.checkpoint(source)) for source, each in self.expressions(slot).items()]
        return [(Read(slot.name), self.target), *others]


@dataclass(frozen=True)
class _Part:
    """Rows `first:stop` of an expression's value."""

    value: Expression
    first: int
    stop: int


def _part(slot: Slot, expression: Expression, checkpoint: Checkpoint, rows: range) -> _Part:
    """Where neighbouring rows of a slot are: those of a stack in the matrix of one expert."""
    if not is_stack(slot):
        return _Part(expression, rows.start, rows.stop)
    expert, first = divmod(rows.start, outputs_of(slot))
    one = pick(expression, expert, checkpoint.shape)
    one = transpose(one) if slot.experts and slot.experts.transposed else one
    return _Part(one, first, first + len(rows))


def _float_runs(
    slot: Slot, expression: Expression, checkpoint: Checkpoint, rows: Sequence[range]
) -> list[FileRun] | None:
    """Where the rows lie in files as floats; None if they do not."""
    if is_stack(slot):
        parts = [_part(slot, expression, checkpoint, part) for part in rows]
        each = [runs_of(part.value, checkpoint, part.first, part.stop) for part in parts]
    else:
        whole, width = runs_of(expression, checkpoint, 0, slot.shape[0]), math.prod(slot.shape[1:])
        each = [
            None if whole is None else [*cut(whole, part.start * width, len(part) * width)] for part in rows
        ]
    runs = [run for one in each if one is not None for run in one]
    return runs if None not in each and all(run.is_float for run in runs) else None


def is_stack(slot: Slot) -> bool:
    """Whether the slot holds the matrices of all experts of a layer."""
    return slot.experts is not None and len(slot.shape) == 3


def outputs_of(slot: Slot) -> int:
    """The rows (out) of each expert's matrix in a stack, as a linear layer stores it."""
    assert slot.experts is not None, "a stack of experts"
    return slot.shape[2 if slot.experts.transposed else 1]


def expert_rows(slot: Slot, count: int) -> list[range]:
    """About `count` rows of a stack, evenly spread over some experts: row r of expert e is e * out + r."""
    outputs = outputs_of(slot)
    each = min(ROWS_OF_EXPERT, outputs)
    experts = _spread(slot.shape[0], max(1, count // each))
    places = [expert * outputs + row for expert in experts for row in _spread(outputs, each)]
    return [range(place, place + 1) for place in places]


def spread_rows(slot: Slot, count: int) -> list[range]:
    """About `count` rows of a slot, evenly spread: all of a vector, of embeddings those that all have."""
    if len(slot.shape) == 3:
        count = min(count, max(2, SAMPLED_VALUES * slot.shape[0] // max(1, slot.elements)))
    if is_stack(slot):
        return expert_rows(slot, count)
    known: Sequence[int] = range(slot.shape[0])
    mapped = [e.rows for e in (*slot.donors.values(), slot.ancestor) if isinstance(e, Tokens)]
    if mapped:
        known = [row for row in known if all(places[row] >= 0 for places in mapped)]
    elif len(slot.shape) < 2 or len(known) <= count:
        return [range(len(known))]
    return [range(row, row + 1) for row in (known[place] for place in _spread(len(known), count))]


def _spread(length: int, count: int) -> list[int]:
    """Up to `count` evenly spread positions."""
    count = min(count, length)
    return [(2 * index + 1) * length // (2 * count) for index in range(count)]
