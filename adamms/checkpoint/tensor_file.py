"""The header of one tensor file: safetensors, or a torch zip archive (.bin, .pth, .pt).

Headers give names, shapes, dtypes and byte offsets. Knows nothing of models or folders.
"""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adamms.checkpoint.tensor_entry import DTYPES, TensorEntry, brief, check_no_pointer, reading, with_texts
from adamms.errors import AdammsError

# The safetensors format forbids larger headers, so that a corrupt length cannot claim the memory.
MAX_HEADER_BYTES = 100_000_000


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
        if file.suffix == ".safetensors":
            return _safetensors_header(file)
        from adamms.checkpoint.torch_zip.torch_file import read_torch_header  # torch reads the archive

        return read_torch_header(file)


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
    return with_texts(file, entries)


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
