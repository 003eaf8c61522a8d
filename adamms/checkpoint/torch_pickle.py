"""A torch zip archive (.bin, .pth, .pt) read as a header: what its pickle says of tensors, where they lie.

The pickle may name only what torch itself writes tensors with; anything else is refused before it is
called. No tensor is made and no storage is read. Knows nothing of checkpoints.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from adamms.errors import AdammsError

# The pickle of a checkpoint names tensors; one that is larger holds something else.
MAX_PICKLE_BYTES = 100_000_000

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


@dataclass(frozen=True)
class TensorHeader:
    """A strided tensor as the pickle describes it.

    Args:
        member: of the archive, that holds its storage; under `data/`.
        dtype: of its elements.
        offset: of its first element in the storage, in elements.
        shape, strides: in elements.
    """

    member: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def sound(self) -> bool:
        """Whether the pickle, which may say anything, describes a tensor that there can be."""
        numbers = (self.offset, *self.shape, *self.strides)
        return (
            isinstance(self.dtype, torch.dtype)
            and len(self.shape) == len(self.strides) <= 64
            and all(type(number) is int and 0 <= number < 1 << 60 for number in numbers)
        )


@dataclass(frozen=True)
class NotDense:
    """A tensor without strided storage: sparse, or on the meta device."""

    layout: str


@dataclass(frozen=True)
class _Storage:
    member: str
    dtype: torch.dtype | None  # None: bytes, whose dtype the tensor names


def read_archive(file: Path) -> tuple[object, dict[str, range]]:
    """What was saved, with headers in the tensors' places, and the bytes of the file where each member lies.

    Raises:
        pickle.UnpicklingError: the pickle asks for more than tensors; the message names it.
        AdammsError: a member that is compressed or misplaced, or an archive of the other byte order.
        zipfile.BadZipFile, and what a malformed pickle may raise: not a readable archive.
    """
    with zipfile.ZipFile(file) as archive:
        places = _places(file, archive)
        (root,) = [name.removesuffix("data.pkl") for name in places if name.endswith("/data.pkl")]
        if f"{root}byteorder" in places and archive.read(f"{root}byteorder") != b"little":
            raise AdammsError(f"{file}: was written on a machine of the other byte order; re-save it here")
        if len(places[f"{root}data.pkl"]) > MAX_PICKLE_BYTES:
            raise ValueError("the pickle is too large to be a header")
        with archive.open(f"{root}data.pkl") as stream:
            content = _Unpickler(stream).load()
    return content, {name.removeprefix(root): place for name, place in places.items()}


def _places(file: Path, archive: zipfile.ZipFile) -> dict[str, range]:
    """Every member's bytes; compressed ones, which torch never writes, cannot be mapped."""
    found, length = {}, file.stat().st_size
    with file.open("rb") as stream:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise AdammsError(
                    f"{file}: {member.filename} is compressed; re-save the file with torch.save"
                )
            stream.seek(member.header_offset)
            signature, name_bytes, extra_bytes = struct.unpack("<4s22xHH", stream.read(30))
            start = member.header_offset + 30 + name_bytes + extra_bytes
            if signature != b"PK\x03\x04" or start + member.file_size > length:
                raise zipfile.BadZipFile(f"{member.filename} is not where the directory says")
            found[member.filename] = range(start, start + member.file_size)
    return found


class _Unpickler(pickle.Unpickler):
    """Builds headers instead of tensors; calls nothing but the functions of this module."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _FUNCTIONS:
            function = _FUNCTIONS[module, name]
            # A new function each time: a pickle can set attributes of what it is given.
            return lambda *arguments: function(*arguments)
        if (module, name) in _CLASSES:
            return _CLASSES[module, name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, reference: Any) -> _Storage:
        match reference:
            case ("storage", torch.dtype() | None as dtype, str(key), _, int()):
                storage = _Storage(f"data/{key}", dtype)
                if self.storages.setdefault(key, storage) == storage:
                    return storage
        raise ValueError(f"a malformed reference to a storage: {str(reference)[:80]}")


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> TensorHeader:
    """torch._utils._rebuild_tensor and its second version, of a typed storage."""
    return _tensor_of_bytes(storage, offset, shape, strides, False, None, storage.dtype)


def _tensor_of_bytes(
    storage: _Storage, offset: int, shape: Any, strides: Any, grad: bool, hooks: Any, dtype: Any, *rest: Any
) -> TensorHeader:
    """torch._utils._rebuild_tensor_v3, of an untyped storage."""
    return TensorHeader(storage.member, dtype, offset, tuple(shape), tuple(strides))


def _first(value: Any, *rest: Any) -> Any:
    """torch._utils._rebuild_parameter, of a tensor; torch.serialization._get_layout, of its name."""
    return value


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    # A tensor with attributes, which are left out.
    ("torch._tensor", "_rebuild_from_type_v2"): lambda rebuild, kind, arguments, state: rebuild(*arguments),
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_bytes,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_sparse_tensor"): lambda layout, *rest: NotDense(str(layout)),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): lambda *rest: NotDense("meta"),
    ("torch.serialization", "_get_layout"): _first,
}
# None: named as an argument, never called.
_CLASSES: dict[tuple[str, str], type | torch.dtype | None] = {
    **{("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()},
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch", "Tensor"): None,
    ("torch.nn.parameter", "Parameter"): None,
    ("torch.storage", "UntypedStorage"): None,
}
