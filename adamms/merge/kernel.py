"""The compiled passes of kernel.c on tensors: the same bits as torch's operations, in one pass over memory.

Where the library was not built, or does not fit (a GPU, an infinite value), there is no result, and callers
take torch's passes. Knows nothing of methods.
"""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adamms.checkpoint.tensor_entry import DTYPES as STORED
from adamms.on_demand import torch

# As kernel.c numbers them.
DTYPES = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
_NUMBERS = {f"torch.{STORED[name].torch}": number for name, number in DTYPES.items()}
VERSION = 3
ELECTIONS = {None: 0, "majority": 1, "weighted": 2}
MAX_MODELS = 16


def _load() -> ctypes.CDLL | None:
    """The library that the installation has built.

    None where there was no compiler, or where kernel.c has changed since: in a checkout, `pip install -e .`
    builds it anew.
    """
    file = Path(__file__).with_name(f"_kernel{sysconfig.get_config_var('EXT_SUFFIX')}")
    try:
        library = ctypes.CDLL(str(file))
        if library.adamms_version() != VERSION:
            return None
    except (OSError, AttributeError):
        return None
    library.adamms_combine.restype = ctypes.c_int64
    library.adamms_balance.restype = ctypes.c_int64
    library.adamms_collect.restype = ctypes.c_int64
    library.adamms_products.restype = ctypes.c_int64
    return library


LIBRARY = _load()


class _Operand(ctypes.Structure):
    _fields_ = (("values", ctypes.c_void_p), ("dtype", ctypes.c_int))


def fits(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether there are passes for these tensors."""
    return (
        LIBRARY is not None
        and len(tensors) <= MAX_MODELS
        and all(tensor.device.type == "cpu" and _number(tensor.dtype) is not None for tensor in tensors)
    )


def combine(
    models: Sequence[torch.Tensor],
    weights: Sequence[float],
    base: torch.Tensor | None,
    scaling: float,
    least: Sequence[float] | None,
    election: str | None,
    majority: int,
    mean: bool,
    into: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """The formula of `Combination`, rounded to the first model's dtype; None if a value is infinite or NaN.

    Args:
        models: their values, all of one shape and of any dtype that `fits`.
        base: what is subtracted from each and added in the end, if anything.
        into: memory for the result, of at least its size; by default new.
        least: for each model, the magnitude up to which its difference from the base counts as 0.
    """
    assert LIBRARY is not None, "checked by `fits`"
    models = [model.contiguous() for model in models]
    base = None if base is None else base.contiguous()
    own = models[0]
    if into is None:
        into = torch.empty(own.numel(), dtype=own.dtype)
    merged = into.view(own.dtype)[: own.numel()].view(own.shape)
    failed = LIBRARY.adamms_combine(
        ctypes.c_int64(merged.numel()),
        ctypes.c_void_p(merged.data_ptr()),
        _number(merged.dtype),
        _operands(models),
        len(models),
        _doubles(weights),
        None if base is None else _operands([base]),
        ctypes.c_double(scaling),
        None if least is None else _doubles(least),
        ELECTIONS[election],
        majority,
        int(mean),
    )
    return None if failed else merged


def balance(models: Sequence[torch.Tensor], base: torch.Tensor, least: Sequence[float] | None) -> int:
    """How many more elements have a positive sum of trimmed differences from the base than a negative one."""
    assert LIBRARY is not None, "checked by `fits`"
    models, base = [model.contiguous() for model in models], base.contiguous()
    found: int = LIBRARY.adamms_balance(
        ctypes.c_int64(base.numel()),
        _operands(models),
        len(models),
        _operands([base]),
        None if least is None else _doubles(least),
    )
    return found


def row_products(models: Sequence[torch.Tensor], base: torch.Tensor | None) -> npt.NDArray[np.float64] | None:
    """The inner products of each row (of dimension 0) of every two models, also of one with itself.

    Args:
        models: of one shape.
        base: what is subtracted from each, if anything.

    Returns:
        (rows, pairs), the pairs as `combinations_with_replacement` has them, added up in NumPy's order. None
        if a value or a product is infinite or NaN.
    """
    assert LIBRARY is not None, "checked by `fits`"
    models = [model.contiguous() for model in models]
    base = None if base is None else base.contiguous()
    rows, number = len(models[0]), len(models)
    products = np.empty((rows, number * (number + 1) // 2))
    failed = LIBRARY.adamms_products(
        ctypes.c_int64(rows),
        ctypes.c_int64(models[0].numel() // rows),
        _operands(models),
        number,
        None if base is None else _operands([base]),
        ctypes.c_void_p(products.ctypes.data),
    )
    return None if failed or not np.isfinite(products).all() else products


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


def count(model: torch.Tensor, base: torch.Tensor, bins: Bins) -> npt.NDArray[np.int64]:
    """How many magnitudes of the difference there are in each bin."""
    counts = np.zeros(bins.count, np.int64)
    _binned("adamms_count", model, base, bins, ctypes.c_void_p(counts.ctypes.data))
    return counts


def collect(model: torch.Tensor, base: torch.Tensor, bins: Bins, number: int) -> npt.NDArray[np.float64]:
    """The magnitudes of the difference that are in bin `number`, in order."""
    found = np.empty(base.numel())
    place = (ctypes.c_int64(number), ctypes.c_void_p(found.ctypes.data))
    return found[: _binned("adamms_collect", model, base, bins, *place)]


def _binned(name: str, model: torch.Tensor, base: torch.Tensor, bins: Bins, *more: object) -> int:
    """One of the passes over the bins of a difference."""
    model, base = model.contiguous(), base.contiguous()
    found: int = getattr(LIBRARY, name)(
        ctypes.c_int64(base.numel()),
        _operands([model]),
        _operands([base]),
        bins.shift,
        ctypes.c_int64(bins.first),
        ctypes.c_int64(bins.count),
        *more,
    )
    return found


def _number(dtype: torch.dtype) -> int | None:
    """As kernel.c numbers it; None for a dtype that it has no passes for."""
    return _NUMBERS.get(str(dtype))


def _operands(tensors: Sequence[torch.Tensor]) -> ctypes.Array[_Operand]:
    """Their addresses: the caller keeps the tensors for the call."""
    return (_Operand * len(tensors))(*(_Operand(t.data_ptr(), _number(t.dtype)) for t in tensors))


def _doubles(numbers: Sequence[float]) -> ctypes.Array[ctypes.c_double]:
    return (ctypes.c_double * len(numbers))(*numbers)
