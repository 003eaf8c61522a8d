"""The zip archive that torch.save writes (.bin, .pth, .pt): where each of its records lies in the file.

Refuses what torch itself refuses, and what two readers could read differently. Knows nothing of pickles.
"""

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from adamms.checkpoint.torch_pickle import load_headers
from adamms.errors import AdammsError

# The pickle of a checkpoint takes about 250 bytes for a tensor; one that is larger holds something else.
MAX_PICKLE_BYTES = 32_000_000
# The formats that torch reads.
VERSIONS = [str(version).encode() for version in range(1, 11)]
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_UTF8, _ENCRYPTED = 0x800, 0x1


def read_archive(file: Path) -> object:
    """What was saved, with headers in the tensors' places. No storage is read.

    Raises:
        pickle.UnpicklingError: the pickle asks for more than tensors; the message says what.
        AdammsError: a compressed archive, TorchScript, or the other byte order.
        zipfile.BadZipFile, and what a malformed archive may raise: not a readable archive.
    """
    with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        if not archive.infolist():
            raise zipfile.BadZipFile("it is empty")
        # As torch does: the folder of the first record is that of all.
        root = archive.infolist()[0].filename.partition("/")[0] + "/"
        places = _places(file, stream, archive)
        records = {name.removeprefix(root): place for name, place in places.items() if name.startswith(root)}

        def read(name: str, most: int) -> bytes:
            if len(records[name]) > most:
                raise zipfile.BadZipFile(f"{name} is too large")
            return archive.read(root + name)

        if "constants.pkl" in records:
            raise AdammsError(f"{file}: holds a TorchScript program; save its state_dict() with torch.save")
        if read("version", 100).strip() not in VERSIONS:
            raise zipfile.BadZipFile("its version is unknown")
        if "byteorder" in records and read("byteorder", 100) != b"little":
            raise AdammsError(f"{file}: was written on a machine of the other byte order; re-save it here")
        pickled = read("data.pkl", MAX_PICKLE_BYTES)
    return load_headers(pickled, records)


def _places(file: Path, stream: BinaryIO, archive: zipfile.ZipFile) -> dict[str, range]:
    """Each record's bytes in the file: stored as they are, one after the other, each name once."""
    found: dict[str, range] = {}
    end = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.compress_type != zipfile.ZIP_STORED:
            raise AdammsError(
                f"{file}: {member.filename[:80]} is compressed; re-save the file with torch.save"
            )
        header = member.header_offset
        if header < end or (header and not found) or member.flag_bits & _ENCRYPTED:
            raise zipfile.BadZipFile(f"{member.filename[:80]} is not stored as torch stores it")
        stream.seek(header)
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
        name = member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437")
        start = header + _LOCAL_HEADER.size + name_bytes + extra_bytes
        end = start + member.file_size
        if (signature, stream.read(name_bytes)) != (b"PK\x03\x04", name) or end > archive.start_dir:
            raise zipfile.BadZipFile(f"{member.filename[:80]} is not where the directory says")
        if member.file_size != member.compress_size:
            raise zipfile.BadZipFile(f"{member.filename[:80]} has two sizes")
        found[member.filename] = range(start, end)
    # torch looks records up whatever their case.
    if len({name.casefold() for name in found}) < len(archive.infolist()):
        raise zipfile.BadZipFile("two of its records have one name")
    return found
