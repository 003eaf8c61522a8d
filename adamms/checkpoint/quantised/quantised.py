"""Tensors whose files hold codes and scales: computed when their rows are asked for, and never kept.

Value = (code - zero point) * scale, in float32, rounded once to 16 bits, as the formats define it. Knows how
numbers are coded, not which tensors of a checkpoint belong together: `quantisation` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.tensor_values import map_tensor, torch_dtype
from adamms.errors import AdammsError
from adamms.system.on_demand import torch

# Values of a four-bit float (E2M1) by its code; the highest bit is the sign.
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
# Of scales that are powers of two (E8M0).
EXPONENT_BIAS = 127
INT32_BITS = 32

# How a code is stored: a number of its own dtype; integers counted from the least, packed into an int32, the
# lowest bits first; or two four-bit floats in a byte, the lower half first.
Coding = Literal["number", "int32", "fp4"]


class Rows(Protocol):
    """A tensor of one dimension or more whose leading rows come when asked for; torch's own is one."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> torch.Tensor: ...


@dataclass(frozen=True, kw_only=True)
class QuantisedEntry(TensorEntry):
    """A tensor by its 16-bit values, with what the files hold instead; `file` and `offset` are the codes'.

    A matrix, or a stack of matrices (all experts of a layer).

    Args:
        method: name of the format, for people.
        codes: of its shape, but for packing.
        scale: one for each block, in a grid; the exponent of a power of two, if its dtype is uint8.
        block: rows and columns that share one scale; the last blocks may be cut.
        coding: how a code is stored.
        bits: of a code that is packed into an int32.
        zero_point: subtracted from the codes, by block; packed as the codes are, along the rows, if int32.
        global_scale: what all scales are divided by (NVFP4).
        groups: column -> the column of its scale, where that is not by order (`weight_g_idx`).
        transposed: each matrix is stored as (columns, rows).
    """

    method: str
    codes: TensorEntry
    scale: TensorEntry
    block: tuple[int, int]
    coding: Coding = "number"
    bits: int = 8
    zero_point: TensorEntry | None = None
    global_scale: TensorEntry | None = None
    groups: TensorEntry | None = None
    transposed: bool = False

    @property
    def parts(self) -> tuple[TensorEntry, ...]:
        """What the files hold of it."""
        parts = (self.codes, self.scale, self.zero_point, self.global_scale, self.groups)
        return tuple(part for part in parts if part is not None)


def rows_of(entry: TensorEntry) -> Rows:
    """The tensor row by row, as a view of its file where that has the values; a scalar is one row."""
    if isinstance(entry, QuantisedEntry):
        return QuantisedRows(entry)
    tensor = map_tensor(entry)
    return tensor.view(1) if tensor.dim() == 0 else tensor


class QuantisedRows:
    """The rows of one quantised tensor."""

    def __init__(self, entry: QuantisedEntry) -> None:
        self.shape = entry.shape
        self.dtype = torch_dtype(entry.dtype)
        self._entry = entry
        self._codes, self._scale = map_tensor(entry.codes), map_tensor(entry.scale)
        self._zero = None if entry.zero_point is None else map_tensor(entry.zero_point)
        self._global = None if entry.global_scale is None else map_tensor(entry.global_scale).float()
        self._columns = entry.shape[-2] if entry.transposed else entry.shape[-1]
        self._places = torch.arange(self._columns) // entry.block[1]
        if entry.groups is not None:
            given, last = map_tensor(entry.groups).long(), int(self._places[-1])
            if given.max() > last:
                raise AdammsError(f"{entry.file}: {entry.groups.name} has a group after the last one, {last}")
            if given.min() >= 0:  # -1: by order
                self._places = given

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> torch.Tensor:
        """The rows `rows`, whose step is 1, as a new tensor."""
        start, stop, _ = rows.indices(len(self))
        found = torch.empty((max(stop - start, 0), *self.shape[1:]), dtype=self.dtype)
        if len(self.shape) == 2:
            found.copy_(self._values(self._codes, self._scale, self._zero, start, max(start, stop)))
            return found
        for place, matrix in enumerate(range(start, stop)):
            zero = None if self._zero is None else self._zero[matrix]
            count = self.shape[2] if self._entry.transposed else self.shape[1]
            values = self._values(self._codes[matrix], self._scale[matrix], zero, 0, count)
            found[place] = values.T if self._entry.transposed else values
        return found

    def _values(
        self, codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, start: int, stop: int
    ) -> torch.Tensor:
        """Rows of one matrix in float32."""
        scales = self._by_row(scale, start, stop)
        if self._global is not None:
            scales = scales / self._global.reshape(-1)[:1]
        values = self._decoded(codes[start:stop])
        if zero is not None:
            packed = zero.dtype == torch.int32
            zeros = (self._unpacked_by_row if packed else self._by_row)(zero, start, stop)
            values = values - zeros.index_select(1, self._places_in(zeros))
        return values * scales.index_select(1, self._places_in(scales))

    def _places_in(self, grid: torch.Tensor) -> torch.Tensor:
        """Column -> its column in a grid, which may have one for all."""
        return torch.zeros_like(self._places) if grid.shape[1] == 1 else self._places

    def _by_row(self, values: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """What all blocks have, in float32, for each row of the matrix: shape (rows, columns of the grid)."""
        grid = values if values.dim() == 2 else values.reshape(-1, 1)
        high = self._entry.block[0]
        first = start // high
        part = _exact(grid[first : -(-stop // high)])
        return part[torch.arange(start, stop) // high - first]

    def _decoded(self, codes: torch.Tensor) -> torch.Tensor:
        """(rows, columns) in float32."""
        codes = codes.flatten(1)
        if self._entry.coding == "fp4":
            halves = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1)
            return torch.tensor(FP4)[halves.int()]
        if self._entry.coding == "int32":
            return self._unpacked(codes).flatten(1)[:, : self._columns]
        return codes.float()

    def _unpacked(self, packed: torch.Tensor) -> torch.Tensor:
        """Integers with a new last dimension, in float32."""
        bits = self._entry.bits
        shifts = torch.arange(0, INT32_BITS // bits * bits, bits, dtype=torch.int32)
        return ((packed[..., None] >> shifts) & ((1 << bits) - 1)).float() - (1 << bits - 1)

    def _unpacked_by_row(self, packed: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Zero points of the rows, which are packed along the rows."""
        each = INT32_BITS // self._entry.bits
        first = start // each
        whole = self._unpacked(packed[first : -(-stop // each)]).transpose(1, 2).flatten(0, 1)
        return whole[start - first * each : stop - first * each]


def _exact(scale: torch.Tensor) -> torch.Tensor:
    """Scales or zero points in float32; an exponent is raised."""
    if scale.dtype == torch.uint8:
        return torch.pow(2.0, scale.double() - EXPONENT_BIAS).float()
    return scale.float()
