"""The compiled passes that rank, see `kernel`: bins of sizes, places in rows, and how far rows are apart."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adamms.merge import kernel
from adamms.merge.kernel import Kept, all_kept, operands
from adamms.system.on_demand import torch


@dataclass(frozen=True)
class Bins:
    """Bins of magnitudes by the leading bits of their float64, see `thresholds`.

    Args:
        shift: how many bits are left out.
        first: the leading bits of the least bin; what is below counts there.
        count: how many there are; what is above counts in the last.
    """

    shift: int
    first: int
    count: int


def count(model: torch.Tensor, base: torch.Tensor, bins: Bins, sized: Kept) -> npt.NDArray[np.int64]:
    """How many sizes of the difference there are in each bin."""
    counts = np.zeros(bins.count, np.int64)
    _binned("adamms_count", model, base, bins, sized, ctypes.c_void_p(counts.ctypes.data))
    return counts


def collect(
    model: torch.Tensor, base: torch.Tensor, bins: Bins, wanted: Sequence[int], sized: Kept
) -> npt.NDArray[np.float64]:
    """The sizes of the difference that are in the wanted bins, in order."""
    found = np.empty(base.numel())
    numbers = (ctypes.c_int64 * len(wanted))(*wanted)
    more = (numbers, len(wanted), ctypes.c_void_p(found.ctypes.data))
    return found[: _binned("adamms_collect", model, base, bins, sized, *more)]


def _binned(
    name: str, model: torch.Tensor, base: torch.Tensor, bins: Bins, sized: Kept, *more: object
) -> int:
    """One of the passes over the bins of a difference."""
    model, base = model.contiguous(), base.contiguous()
    found: int = getattr(kernel.LIBRARY, name)(
        ctypes.c_int64(base.numel()),
        operands([model]),
        operands([base]),
        all_kept([sized]),
        bins.shift,
        ctypes.c_int64(bins.first),
        ctypes.c_int64(bins.count),
        *more,
    )
    return found


def divergences(rows: torch.Tensor, base: torch.Tensor, more: float) -> npt.NDArray[np.float64] | None:
    """As in softmax.py, `more` being added to probabilities; None if a value is infinite or NaN."""
    assert kernel.LIBRARY is not None, "checked by `fits`"
    rows, base = rows.contiguous(), base.contiguous()
    count, width = rows.shape
    found, room = np.empty(count), np.empty(3 * width)
    failed = kernel.LIBRARY.adamms_divergences(
        ctypes.c_int64(count),
        ctypes.c_int64(width),
        operands([rows]),
        operands([base]),
        ctypes.c_double(more),
        ctypes.c_void_p(room.ctypes.data),
        ctypes.c_void_p(found.ctypes.data),
    )
    return None if failed else found


def thin(
    vectors: torch.Tensor, draws: npt.NDArray[np.uint32], lowest: float, extent: float, rescale: bool
) -> int:
    """Drop elements of rows at random by the places of their magnitudes, see della.py; in place.

    Args:
        vectors: rows of float64, more than one element each.
        draws: a random number for each element.
        lowest, extent: the probability to keep the least, and what the largest has more.
        rescale: divide by the probability.

    Returns:
        How many rows are done, from the first; the next one has values without a place.
    """
    assert kernel.LIBRARY is not None, "checked by `fits`"
    assert vectors.is_contiguous()
    rows, width = len(vectors), vectors[0].numel()
    room = np.empty(3 * width, np.int64)
    done: int = kernel.LIBRARY.adamms_thin(
        ctypes.c_int64(rows),
        ctypes.c_int64(width),
        ctypes.c_void_p(vectors.data_ptr()),
        ctypes.c_void_p(draws.ctypes.data),
        ctypes.c_double(lowest),
        ctypes.c_double(extent),
        int(rescale),
        ctypes.c_void_p(room.ctypes.data),
    )
    return done
