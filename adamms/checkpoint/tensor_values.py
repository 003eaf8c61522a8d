"""The values of a tensor in a file, as a view of the mapped file: nothing is loaded before it is used."""

from __future__ import annotations

import mmap
import os

from adamms.checkpoint.tensor_entry import DTYPES, TensorEntry, cut_short, reading, span
from adamms.system.on_demand import torch


def torch_dtype(name: str) -> torch.dtype:
    """torch's dtype of safetensors' name, e.g. of "BF16"."""
    dtype: torch.dtype = getattr(torch, DTYPES[name].torch)
    return dtype


def map_tensor(entry: TensorEntry) -> torch.Tensor:
    """The tensor as a view of the mapped file: no copy, and unmapped when the view is gone."""
    if entry.elements == 0:
        return torch.empty(entry.shape, dtype=torch_dtype(entry.dtype))
    dtype = torch_dtype(entry.dtype)
    page = entry.offset % mmap.ALLOCATIONGRANULARITY
    nbytes = span(entry) * dtype.itemsize
    with reading(entry.file), entry.file.open("rb") as file:
        if os.fstat(file.fileno()).st_size < entry.offset + nbytes:
            raise cut_short(entry.file)
        # A private mapping is writable as torch wants its buffers; nothing writes, so no page is copied.
        mapped = mmap.mmap(file.fileno(), page + nbytes, access=mmap.ACCESS_COPY, offset=entry.offset - page)
    if page % dtype.itemsize:  # a foreign file with unaligned tensors: the one case that copies
        flat = torch.frombuffer(bytearray(mapped[page:]), dtype=dtype)
    else:
        flat = torch.frombuffer(mapped, dtype=dtype, offset=page)
    if entry.strides is not None:
        strided = flat.as_strided(entry.shape, entry.strides)
        if not strided.is_contiguous():
            return strided
    # A dimension of one row may have any stride in a torch file, which later views would trip over.
    return flat[: entry.elements].view(entry.shape)
