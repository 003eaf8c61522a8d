"""One tensor in a file: its name, shape, dtype and place, and what is said of a file that cannot be read.

Knows neither formats of files nor values, and so does without torch.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adamms.errors import AdammsError


class DType(NamedTuple):
    """A dtype that tensors are stored in.

    Args:
        torch: its name in torch.
        itemsize: bytes of one element.
    """

    torch: str
    itemsize: int


# safetensors' names of dtypes, which are used for both kinds of file, in the order in which
# safetensors itself lays out tensors: wide ones first, so that every tensor is aligned.
DTYPES: dict[str, DType] = {
    "I64": DType("int64", 8),
    "F64": DType("float64", 8),
    "F32": DType("float32", 4),
    "I32": DType("int32", 4),
    "BF16": DType("bfloat16", 2),
    "F16": DType("float16", 2),
    "I16": DType("int16", 2),
    "F8_E4M3": DType("float8_e4m3fn", 1),
    "F8_E5M2": DType("float8_e5m2", 1),
    "I8": DType("int8", 1),
    "U8": DType("uint8", 1),
    "BOOL": DType("bool", 1),
}
# Those that merging can compute with; others are quantised, or no weights.
MERGEABLE = ("F64", "F32", "F16", "BF16")

# How the file begins that git keeps in the place of a large one.
LFS_POINTER = b"version https://git-lfs"


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
    def itemsize(self) -> int:
        return DTYPES[self.dtype].itemsize

    @property
    def nbytes(self) -> int:
        return self.elements * self.itemsize

    @property
    def by_rows(self) -> bool:
        """Whether the elements lie row by row, without gaps."""
        expected, sizes = 1, zip(reversed(self.shape), reversed(self.strides or ()), strict=False)
        for size, stride in sizes:
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """What the system has against reading `file`, or what is in it, as an AdammsError."""
    try:
        yield
    except OSError as error:
        raise AdammsError(f"{error.filename or file}: cannot be read: {error.strerror or error}") from error


def cut_short(file: Path) -> AdammsError:
    """The error that a file ends before what its header says."""
    return AdammsError(f"{file}: is shorter than it was when its header was read")


def check_no_pointer(file: Path) -> None:
    """Raise AdammsError if git has left a pointer in the place of a large file."""
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise AdammsError(
                f"{file}: a Git LFS pointer, not the file itself; fetch it: git -C {file.parent} lfs pull"
            )


def with_texts(file: Path, header: dict[str, TensorEntry]) -> dict[str, TensorEntry]:
    """The header, if its names are valid Unicode, which neither JSON nor a pickle makes sure of."""
    for name in header:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise AdammsError(f"{file}: the tensor name {brief(name)} is no valid text") from None
    return header


def span(entry: TensorEntry) -> int:
    """Elements from the first to the last one that the tensor touches in the file."""
    if entry.strides is None:
        return entry.elements
    return 1 + sum((size - 1) * stride for size, stride in zip(entry.shape, entry.strides, strict=True))


def brief(value: object) -> str:
    """A value of a pickle in a few words, however long or nested it is."""
    if isinstance(value, str):
        return repr(value[:80])
    if value is None or isinstance(value, int | float):
        return repr(value)[:80]
    if type(value) is tuple:
        items = ["(...)" if type(item) is tuple else brief(item) for item in value[:8]]
        return f"({', '.join(items)}{', ...' if len(value) > 8 else ''})"
    return f"a {type(value).__name__}"
