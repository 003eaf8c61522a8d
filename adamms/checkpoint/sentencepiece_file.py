"""The pieces of a sentencepiece model, `tokenizer.model`, in the order of their ids.

The file is one protobuf message, `ModelProto` of sentencepiece_model.proto. Its field 1 repeats the pieces,
and field 1 of a piece is its text; everything else is skipped. Does not know what pieces are for.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from adamms.errors import AdammsError

_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")


def read_pieces(file: Path) -> list[str]:
    """Every piece, control and byte pieces included.

    Raises:
        AdammsError: not a sentencepiece model; the message says so if it is a tiktoken file.
    """
    raw = file.read_bytes()
    kind = "a tiktoken file" if _TIKTOKEN.match(raw) else "no sentencepiece model"
    try:
        pieces = [_text(piece) for number, piece in _fields(raw) if number == 1 and piece is not None]
        if pieces and not _TIKTOKEN.match(raw):
            return pieces
        problem = "no pieces"
    except (IndexError, ValueError) as error:
        problem = str(error)
    raise AdammsError(
        f"{file.name} is {kind} ({problem}); save the tokenizer with transformers, which writes a "
        f"tokenizer.json"
    )


def _text(piece: bytes) -> str:
    texts = [value.decode("utf-8") for number, value in _fields(piece) if number == 1 and value is not None]
    if len(texts) != 1:
        raise ValueError("a piece without text")
    return texts[0]


def _fields(message: bytes) -> Iterator[tuple[int, bytes | None]]:
    """(number, content) of each field; None for numbers, whose values do not matter here."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        content, size = None, 0
        match key & 7:
            case 0:
                _, position = _varint(message, position)
            case 1:
                size = 8
            case 5:
                size = 4
            case 2:
                size, position = _varint(message, position)
                content = message[position : position + size]
            case other:
                raise ValueError(f"wire type {other}")
        position += size
        if position > len(message):
            raise ValueError("truncated")
        yield key >> 3, content


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """(value, position after it)."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
