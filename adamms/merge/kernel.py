"""The compiled passes of kernel.c on tensors: the same bits as torch's operations, in one pass over memory.

Where the library was not built, or does not fit (a GPU, an infinite value), there is no result, and callers
take torch's passes. Knows nothing of methods.
"""

from __future__ import annotations

import ctypes
import math
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adamms.checkpoint.tensor_entry import DTYPES as STORED
from adamms.checkpoint.tensor_entry import cut_short, reading
from adamms.system.on_demand import torch

# As kernel.c numbers them.
DTYPES = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
_NUMBERS = {f"torch.{STORED[name].torch}": number for name, number in DTYPES.items()}
VERSION = 6
ELECTIONS = {None: 0, "majority": 1, "weighted": 2}
MAX_MODELS = 16
ENDED = -4096


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
    library.adamms_merge_file.restype = ctypes.c_int64
    library.adamms_balance.restype = ctypes.c_int64
    library.adamms_collect.restype = ctypes.c_int64
    library.adamms_products.restype = ctypes.c_int64
    library.adamms_divergences.restype = ctypes.c_int64
    library.adamms_thin.restype = ctypes.c_int64
    return library


LIBRARY = _load()


class _Operand(ctypes.Structure):
    _fields_ = (("values", ctypes.c_void_p), ("dtype", ctypes.c_int))


class _Kept(ctypes.Structure):
    _fields_ = (
        ("least", ctypes.c_double),
        ("most", ctypes.c_double),
        ("factors", ctypes.c_void_p),
        ("width", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Kept:
    """Which of a model's differences from the base are kept, the others being 0.

    Args:
        least, most: the sizes that are kept.
        factors: for each row, in float64: a size is the magnitude times the row's; None for magnitudes.
        width: elements of a row.
    """

    least: float = 0.0
    most: float = math.inf
    factors: torch.Tensor | None = None
    width: int = 1


def fits(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether there are passes for these tensors."""
    return (
        LIBRARY is not None
        and len(tensors) <= MAX_MODELS
        and all(tensor.device.type == "cpu" and _number(tensor.dtype) is not None for tensor in tensors)
    )


@dataclass(frozen=True)
class Numbers:
    """The numbers of a `Combination`.

    Args:
        weights, scaling, election, majority: as there.
        kept: of each model; None for all.
        mean: what agrees is averaged.
    """

    weights: Sequence[float]
    scaling: float = 1.0
    kept: Sequence[Kept] | None = None
    election: str | None = None
    majority: int = 0
    mean: bool = False

    def arguments(self) -> tuple[object, ...]:
        """From `scaling` on as kernel.c wants them."""
        kept = None if self.kept is None else all_kept(self.kept)
        return ctypes.c_double(self.scaling), kept, ELECTIONS[self.election], self.majority, int(self.mean)


def combine(
    models: Sequence[torch.Tensor],
    base: torch.Tensor | None,
    numbers: Numbers,
    dtype: torch.dtype,
    into: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """The formula of `Combination`; None if a value is infinite or NaN.

    Args:
        models: their values, all of one shape and of any dtype that `fits`.
        base: what is subtracted from each and added in the end, if anything.
        dtype: of the result.
        into: memory for the result, of at least its size; by default new.
    """
    assert LIBRARY is not None, "checked by `fits`"
    models = [model.contiguous() for model in models]
    base = None if base is None else base.contiguous()
    if into is None:
        into = torch.empty(models[0].numel(), dtype=dtype)
    merged = into.view(dtype)[: models[0].numel()].view(models[0].shape)
    failed = LIBRARY.adamms_combine(
        ctypes.c_int64(merged.numel()),
        ctypes.c_void_p(merged.data_ptr()),
        _number(merged.dtype),
        operands(models),
        len(models),
        _doubles(numbers.weights),
        None if base is None else operands([base]),
        *numbers.arguments(),
    )
    return None if failed else merged


@dataclass(frozen=True)
class InFile:
    """Where values lie in a file that is open, one after the other.

    Args:
        path, descriptor: of the file.
        offset: of the first value, in bytes.
        dtype: as kernel.c numbers it.
        size: of an element, in bytes.
    """

    path: Path
    descriptor: int
    offset: int
    dtype: int
    size: int

    @property
    def argument(self) -> _Run:
        return _Run(self.offset, self.descriptor, self.dtype, self.size)


class _Run(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_int64), *((name, ctypes.c_int) for name in ("file", "dtype", "size")))


class ToFile(ctypes.Structure):
    """Where values go; whole pages go to `direct`, a descriptor of the same file, if that is not -1."""

    _fields_ = (
        ("offset", ctypes.c_int64),
        *((name, ctypes.c_int) for name in ("file", "direct", "dtype", "size")),
    )


def merge_file(
    count: int,
    to: ToFile,
    models: Sequence[InFile],
    base: InFile | None,
    numbers: Numbers | None,
    room: memoryview,
    buffer: memoryview,
) -> bool:
    """As `combine`, from files to a file; without numbers a copy of the only model, of any dtype.

    Args:
        count: elements.
        room: for the operands.
        buffer: for the result; aligned, of whole pages.

    Returns:
        False if a value is infinite or NaN; then what was written by this call is not to be used.

    Raises:
        AdammsError: a model's file cannot be read, or ends too early.
        OSError: the system refuses to write.
    """
    assert LIBRARY is not None, "checked before"
    operands, unread = [*models, *([] if base is None else [base])], ctypes.c_int()
    failed = LIBRARY.adamms_merge_file(
        ctypes.c_int64(count),
        ctypes.byref(to),
        (_Run * len(models))(*(model.argument for model in models)),
        len(models),
        None if numbers is None else _doubles(numbers.weights),
        None if base is None else ctypes.byref(base.argument),
        *(Numbers(()) if numbers is None else numbers).arguments(),
        ctypes.byref(ctypes.c_char.from_buffer(room)),
        ctypes.c_int64(len(room) // (8 * len(operands))),
        ctypes.byref(ctypes.c_char.from_buffer(buffer)),
        ctypes.c_int64(len(buffer)),
        ctypes.byref(unread),
    )
    if failed >= 0:
        return not failed
    if unread.value < 0:
        raise OSError(-failed, os.strerror(-failed))
    path = operands[unread.value].path
    if failed == ENDED:
        raise cut_short(path)
    with reading(path):
        raise OSError(-failed, os.strerror(-failed))


def balance(models: Sequence[torch.Tensor], base: torch.Tensor, kept: Sequence[Kept] | None) -> int:
    """How many more elements have a positive sum of kept differences from the base than a negative one."""
    assert LIBRARY is not None, "checked by `fits`"
    models, base = [model.contiguous() for model in models], base.contiguous()
    found: int = LIBRARY.adamms_balance(
        ctypes.c_int64(base.numel()),
        operands(models),
        len(models),
        operands([base]),
        None if kept is None else all_kept(kept),
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
        operands(models),
        number,
        None if base is None else operands([base]),
        ctypes.c_void_p(products.ctypes.data),
    )
    return None if failed or not np.isfinite(products).all() else products


def _number(dtype: torch.dtype) -> int | None:
    """As kernel.c numbers it; None for a dtype that it has no passes for."""
    return _NUMBERS.get(str(dtype))


def operands(tensors: Sequence[torch.Tensor]) -> ctypes.Array[_Operand]:
    """Their addresses: the caller keeps the tensors for the call."""
    return (_Operand * len(tensors))(*(_Operand(t.data_ptr(), _number(t.dtype)) for t in tensors))


def _doubles(numbers: Sequence[float]) -> ctypes.Array[ctypes.c_double]:
    return (ctypes.c_double * len(numbers))(*numbers)


def all_kept(kept: Sequence[Kept]) -> ctypes.Array[_Kept]:
    """What is kept of each model: the caller keeps the factors for the call."""
    addresses = [None if k.factors is None else k.factors.data_ptr() for k in kept]
    found = (_Kept(k.least, k.most, a, k.width) for k, a in zip(kept, addresses, strict=True))
    return (_Kept * len(kept))(*found)
