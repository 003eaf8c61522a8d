"""Torch archives made by hand: any pickle, any records."""

import io
import zipfile
from collections.abc import Mapping

import torch

PROTO = b"\x80\x02"


def text(value: str) -> bytes:
    """The opcodes that put a text on the stack."""
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def named(name: str) -> bytes:
    """The opcodes that put a function or class on the stack, e.g. `torch.FloatStorage`."""
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def stored(elements: int = 16, kind: str = "torch.FloatStorage") -> bytes:
    """The opcodes that put the storage `data/0` on the stack."""
    return b"(" + text("storage") + named(kind) + text("0") + text("cpu") + b"K" + bytes([elements]) + b"tQ"


def called(function: str, *arguments: bytes) -> bytes:
    """The opcodes that put what a function gives for the arguments on the stack."""
    return named(function) + b"(" + b"".join(arguments) + b"tR"


def archive(pickled: bytes, records: Mapping[str, bytes] | None = None) -> bytes:
    """An archive with the pickle and a storage `data/0`, 0 to 15 in float32; `records` add and replace."""
    values = torch.arange(16.0).numpy().tobytes()
    usual = {"byteorder": b"little", "data/0": values, "version": b"3\n"}
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as packed:
        packed.writestr("archive/data.pkl", pickled)
        for name, content in (usual | dict(records or {})).items():
            packed.writestr(f"archive/{name}", content)
    return held.getvalue()
