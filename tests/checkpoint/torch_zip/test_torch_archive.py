"""Zip archives that two readers could read differently, or that torch refuses, are refused."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch_archives import PROTO, archive, called, stored, text

from adamms.checkpoint.tensor_file import read_header
from adamms.checkpoint.tensor_values import map_tensor
from adamms.checkpoint.torch_zip import torch_archive
from adamms.errors import AdammsError

TENSOR = called("torch._utils._rebuild_tensor", stored(), b"K\0", b"K\4\x85", b"K\1\x85")
PICKLE = PROTO + b"}" + text("w") + TENSOR + b"s."
WHOLE = archive(PICKLE)
DIRECTORY = b"PK\x01\x02"
PICKLE_SIZE = struct.pack("<I", len(PICKLE))


def renamed(old: str, new: str) -> bytes:
    """With a record of another name of the same length."""
    return WHOLE.replace(f"archive/{old}".encode(), f"archive/{new}".encode())


def in_the_directory(offset: int, value: bytes, record: int = 0) -> bytes:
    """With some bytes of a record's entry in the directory replaced."""
    at = WHOLE.index(DIRECTORY)
    for _ in range(record):
        at = WHOLE.index(DIRECTORY, at + 1)
    return WHOLE[: at + offset] + value + WHOLE[at + offset + len(value) :]


def twice() -> bytes:
    held = io.BytesIO(WHOLE)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(held, "a") as packed:
        packed.writestr("archive/data/0", bytes(64))
    return held.getvalue()


def without(name: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as old, zipfile.ZipFile(held, "w") as new:
        for member in old.infolist():
            if member.filename != f"archive/{name}":
                new.writestr(member.filename, old.read(member))
    return held.getvalue()


CASES: dict[str, Callable[[], bytes]] = {
    "a record twice": twice,
    "a record in capitals": lambda: renamed("data/0", "DATA/0"),
    "a record in another folder": lambda: WHOLE.replace(b"archive/version", b"another/version"),
    "no version": lambda: without("version"),
    "a version of the future": lambda: archive(PICKLE, {"version": b"11"}),
    "no pickle": lambda: without("data.pkl"),
    "no storage": lambda: without("data/0"),
    "a storage of another size": lambda: archive(PICKLE, {"data/0": bytes(60)}),
    "a program": lambda: archive(PICKLE, {"constants.pkl": b"N."}),
    "an alignment that is no number": lambda: archive(PICKLE, {".storage_alignment": b"x"}),
    "something in front": lambda: b"hello" + WHOLE,
    "an archive in front": lambda: WHOLE + WHOLE,
    "a pickle with a flipped bit": lambda: WHOLE.replace(b"_rebuild_tensor", b"_rebuild_tensOr"),
    "a directory that calls the pickle a folder": lambda: in_the_directory(38, b"\x10"),
    "a directory of two sizes": lambda: in_the_directory(20, struct.pack("<I", 1)),
    "a place past the end": lambda: in_the_directory(42, struct.pack("<I", 10**6)),
    "two records in one place": lambda: in_the_directory(42, struct.pack("<I", 0), record=2),
    "a name that the record itself has not": lambda: in_the_directory(46, b"archivf"),
    "a size past the end": lambda: in_the_directory(20, struct.pack("<II", 10**6, 10**6), record=2),
}


@pytest.mark.parametrize("case", CASES)
def test_an_odd_archive_is_refused(case: str, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(CASES[case]())
    with pytest.raises(
        AdammsError, match=r"a\.bin: (not a readable torch zip archive|holds a TorchScript program)"
    ):
        read_header(file)


def test_the_whole_archive_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(WHOLE)
    assert map_tensor(read_header(file)["w"]).tolist() == torch.load(file)["w"].tolist() == [0, 1, 2, 3]


def test_what_is_too_large_for_a_header_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(archive(PICKLE, {"byteorder": b"little" + bytes(1000)}))
    monkeypatch.setattr(torch_archive, "MAX_PICKLE_BYTES", 1000)
    with pytest.raises(AdammsError, match="what is beside its storages is too large"):
        read_header(file)
