"""Headers and values of one tensor file: safetensors, or a torch zip archive (.bin, .pth, .pt).

Headers give names, shapes, dtypes and byte offsets; values are memory-mapped views at those offsets, so
that nothing is loaded before it is used. Knows nothing of models or folders.
"""

import json
import math
import mmap
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adamms.checkpoint.torch_archive import read_archive, weights_in
from adamms.checkpoint.torch_headers import TensorHeader, Unread, brief
from adamms.errors import AdammsError

# safetensors' names of dtypes, which are used for both kinds of file, in the order in which
# safetensors itself lays out tensors: wide ones first, so that every tensor is aligned.
DTYPES: dict[str, torch.dtype] = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# Those that merging can compute with; others are quantised, or no weights.
MERGEABLE = ("F64", "F32", "F16", "BF16")
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

# How the file begins that git keeps in the place of a large one.
LFS_POINTER = b"version https://git-lfs"
# The safetensors format forbids larger headers, so that a corrupt length cannot claim the memory.
MAX_HEADER_BYTES = 100_000_000
# A tensor in a torch file may repeat its values with strides of 0, but a small file cannot claim the memory.
MAX_REPEATED_BYTES = 1 << 30


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor is stored.

    Args:
        name: its name in the checkpoint.
        shape: its dimensions.
        dtype: safetensors' name of the dtype, e.g. "BF16".
        file: the file that holds it.
        offset: position of its first element in the file, in bytes.
        strides: in elements, as torch archives say; None where the elements lie row by row.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path
    offset: int
    strides: tuple[int, ...] | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * DTYPES[self.dtype].itemsize


def read_header(file: Path) -> dict[str, TensorEntry]:
    """Names and places of every tensor in `file`; values are not read.

    Raises:
        AdammsError: a file that is missing, truncated, malformed, quantised, or a pickle that asks
            for anything but tensors (it is refused, not executed).
    """
    with reading(file):
        if not file.is_file():
            raise AdammsError(f"{file}: {'not a file' if file.exists() else 'no such file'}")
        check_no_pointer(file)
        return _safetensors_header(file) if file.suffix == ".safetensors" else _torch_header(file)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """What the system has against reading `file`, or what is in it, as an AdammsError."""
    try:
        yield
    except OSError as error:
        raise AdammsError(f"{error.filename or file}: cannot be read: {error.strerror or error}") from error


def check_no_pointer(file: Path) -> None:
    """Raise AdammsError if git has left a pointer in the place of a large file."""
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise AdammsError(
                f"{file}: a Git LFS pointer, not the file itself; fetch it: git -C {file.parent} lfs pull"
            )


def _with_texts(file: Path, header: dict[str, TensorEntry]) -> dict[str, TensorEntry]:
    """The header, whose names can be written: neither JSON nor a pickle forbids half of a surrogate pair."""
    for name in header:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise AdammsError(f"{file}: the tensor name {brief(name)} is no valid text")
    return header


def map_tensor(entry: TensorEntry) -> torch.Tensor:
    """The tensor as a view of the mapped file: no copy, and unmapped when the view is gone."""
    if entry.elements == 0:
        return torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
    dtype = DTYPES[entry.dtype]
    page = entry.offset % mmap.ALLOCATIONGRANULARITY
    span = _span(entry) * dtype.itemsize
    with reading(entry.file), entry.file.open("rb") as file:
        if os.fstat(file.fileno()).st_size < entry.offset + span:
            raise AdammsError(f"{entry.file}: is shorter than it was when its header was read")
        # A private mapping is writable as torch wants its buffers; nothing writes, so no page is copied.
        mapped = mmap.mmap(file.fileno(), page + span, access=mmap.ACCESS_COPY, offset=entry.offset - page)
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


def _span(entry: TensorEntry) -> int:
    """Elements from the first to the last one that the tensor touches in the file."""
    if entry.strides is None:
        return entry.elements
    return 1 + sum((size - 1) * stride for size, stride in zip(entry.shape, entry.strides, strict=True))


def _safetensors_header(file: Path) -> dict[str, TensorEntry]:
    with file.open("rb") as stream:

        def read(start: int, stop: int) -> bytes:
            stream.seek(start)
            return stream.read(stop - start)

        return parse_header(file, file.stat().st_size, read)


def parse_header(file: Path, size: int, read: Callable[[int, int], bytes]) -> dict[str, TensorEntry]:
    """Names and places of every tensor in a safetensors file.

    Args:
        file, size: its name, and its size in bytes.
        read: (start, stop) -> those bytes of the file.

    Raises:
        AdammsError: a file that is truncated, malformed or quantised.
    """
    prefix = read(0, 8)
    if len(prefix) < 8:
        raise AdammsError(f"{file}: truncated, {size} bytes are too few for a safetensors file")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(MAX_HEADER_BYTES, size - 8):
        found = f"the header should be {length} bytes long, the file has {size}"
        raise AdammsError(f"{file}: truncated or not safetensors: {found}")
    try:
        header = json.loads(read(8, 8 + length), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise AdammsError(f"{file}: the safetensors header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise AdammsError(f"{file}: the safetensors header is not a JSON object")
    header.pop("__metadata__", None)
    data = 8 + length
    entries = {name: _safetensors_entry(file, name, value, data) for name, value in header.items()}
    _check_coverage(file, entries, data, size)
    return _with_texts(file, entries)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which readers would take one or the other of two equal names."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a name twice")
    return found


def _safetensors_entry(file: Path, name: str, value: Any, data: int) -> TensorEntry:
    match value:
        case {
            "dtype": str(dtype),
            "shape": list(shape),
            "data_offsets": [int(start), int(stop)],
        } if _plausible(shape) and type(start) is type(stop) is int:
            pass
        case _:
            raise AdammsError(f"{file}: malformed header entry for {brief(name)}: {str(value)[:120]}")
    if dtype not in DTYPES:
        raise AdammsError(
            f"{file}: tensor {brief(name)} has dtype {dtype[:40]}, which looks quantised; expected one of "
            f"{', '.join(DTYPES)}. Merge the unquantised checkpoint."
        )
    entry = TensorEntry(name, tuple(shape), dtype, file, data + start)
    if not 0 <= start < 1 << 63 or stop - start != entry.nbytes:
        raise AdammsError(
            f"{file}: the header lies about {brief(name)}: shape {str(shape)[:80]} of {dtype} takes "
            f"{entry.nbytes} bytes, its offsets are {str([start, stop])[:60]}"
        )
    return entry


def _plausible(shape: list[Any]) -> bool:
    """Sizes that a tensor can have: torch counts its dimensions in 64 and its bytes in 63 bits."""
    sizes = [size for size in shape if type(size) is int and size >= 0]
    return len(sizes) == len(shape) <= 64 and math.prod(max(size, 1) for size in sizes) < 1 << 60


def _check_coverage(file: Path, entries: dict[str, TensorEntry], data: int, size: int) -> None:
    """The format wants the tensors back to back, from the end of the header to the end of the file."""
    position = data
    for entry in sorted(entries.values(), key=lambda entry: (entry.offset, entry.nbytes)):
        if entry.offset != position:
            raise AdammsError(
                f"{file}: the header lies about {brief(entry.name)}: it starts at byte "
                f"{entry.offset - data} of the data, the tensor before it ends at {position - data}"
            )
        position += entry.nbytes
    if position > size:
        raise AdammsError(f"{file}: truncated: the header promises {position} bytes, the file has {size}")
    if position < size:
        raise AdammsError(
            f"{file}: {size - position} bytes after the last tensor that the header does not describe"
        )


def _torch_header(file: Path) -> dict[str, TensorEntry]:
    try:
        state = weights_in(read_archive(file))
    except pickle.UnpicklingError as error:
        raise AdammsError(
            f"{file}: refused, not executed: the pickle asks for more than tensors ({str(error)[:160]}). "
            "Save the model's state_dict() with torch.save, or as safetensors"
        ) from error
    except (AdammsError, OSError):
        raise
    except Exception as error:  # a malformed pickle raises whatever it likes
        raise AdammsError(
            f"{file}: not a readable torch zip archive (truncated, or written before torch 1.6): "
            f"{(str(error) or type(error).__name__).splitlines()[0][:200]}"
        ) from error
    if not isinstance(state, dict):
        kind = "Tensor" if isinstance(state, TensorHeader | Unread) else type(state).__name__
        raise AdammsError(f"{file}: holds a {kind}; expected a dict of named tensors")
    if numbers := [name for name in state if not isinstance(name, str)]:
        raise AdammsError(f"{file}: holds a dict with the key {numbers[0]}; expected one of named tensors")
    return _with_texts(file, {name: _torch_entry(file, name, value) for name, value in state.items()})


def _torch_entry(file: Path, name: str, tensor: object) -> TensorEntry:
    where = f"{file}: tensor {brief(name)}"
    if isinstance(tensor, Unread):
        raise AdammsError(f"{where} is {tensor.reason}")
    if not isinstance(tensor, TensorHeader):
        raise AdammsError(
            f"{file}: {brief(name)} is a {type(tensor).__name__}; expected a flat dict of named tensors"
        )
    if not tensor.sound:
        numbers = (
            f"offset {brief(tensor.offset)}, shape {brief(tensor.shape)}, strides {brief(tensor.strides)}"
        )
        raise AdammsError(f"{file}: the pickle lies about {brief(name)}: {numbers}")
    if tensor.dtype not in DTYPE_NAMES:
        raise AdammsError(f"{where} has dtype {tensor.dtype}, which cannot be merged")
    start = tensor.offset * tensor.dtype.itemsize
    offset = tensor.storage.start + start
    entry = TensorEntry(name, tensor.shape, DTYPE_NAMES[tensor.dtype], file, offset, tensor.strides)
    if entry.elements and start + _span(entry) * tensor.dtype.itemsize > tensor.storage.nbytes:
        raise AdammsError(
            f"{file}: the pickle lies about {brief(name)}: it is larger than its storage of "
            f"{tensor.storage.nbytes} bytes"
        )
    if entry.nbytes > max(tensor.storage.nbytes, MAX_REPEATED_BYTES):
        raise AdammsError(
            f"{where} repeats {tensor.storage.nbytes} stored bytes over {brief(tensor.shape)}; "
            "save it with tensor.contiguous()"
        )
    return entry
