"""Damaged safetensors files: their values are those that safetensors reads, or they are refused."""

import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from damage import check_values, some_bytes
from fault import Fault, Wrong
from safetensors.torch import load, save

from adamms.checkpoint.tensor_file import read_header

SHARE = 30
Damage = Callable[[bytes, random.Random], bytes]
Header = dict[str, Any]


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    whole = save(
        {
            "model.embed.weight": torch.arange(12, dtype=torch.bfloat16).reshape(4, 3),
            "model.norm.weight": torch.tensor([1.0, -0.0, float("nan")]),
            "steps": torch.tensor(3),
            "nothing": torch.empty(0, 3),
            "mask": torch.tensor([True, False]),
        },
        {"format": "pt"},
    )
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        damage = DAMAGES[number % len(DAMAGES)]
        yield Fault(
            damage.__name__.replace("_", " "),
            lambda folder, rng=rng, damage=damage: trial(folder, damage(whole, rng)),
        )


def trial(folder: Path, raw: bytes) -> None:
    """Read it, and compare with safetensors if it is read."""
    file = folder / "model.safetensors"
    file.write_bytes(raw)
    found = read_header(file)
    try:
        expected = load(raw)
    except Exception as error:
        if "metadata" in str(error) or _odd_metadata(raw):
            return  # which we do not read
        raise Wrong(f"safetensors does not read it: {str(error)[:200]}") from error
    check_values(found, expected)


def _odd_metadata(raw: bytes) -> bool:
    header, _ = parts(raw)
    metadata = header.get("__metadata__", {})
    return not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values())


def parts(raw: bytes) -> tuple[Header, bytes]:
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: object, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def bytes_of_the_header(raw: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", raw[:8])
    return some_bytes(raw[: 8 + length], rng) + raw[8 + length :]


def bytes_of_the_file(raw: bytes, rng: random.Random) -> bytes:
    return some_bytes(raw, rng)


def characters_of_the_header(raw: bytes, rng: random.Random) -> bytes:
    """JSON's own characters put in, taken out or replaced; the length fits."""
    (length,) = struct.unpack("<Q", raw[:8])
    text = bytearray(raw[8 : 8 + length])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text))
        new = bytes([rng.choice(b'0123456789-+{}[]",:.eE \t\\ufalsNI')])
        text[at : at + rng.randint(0, 1)] = rng.choice([new, b""])
    return joined(bytes(text), raw[8 + length :])


def a_cut(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return rng.choice(
        [raw[:at], raw[:at] + raw[at + rng.randint(1, 9) :], raw + rng.randbytes(rng.randint(1, 9))]
    )


def a_length(raw: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", raw[:8])
    new = rng.choice(
        [0, 1, length - 1, length + 1, len(raw), len(raw) - 8, 10**8, 2**31, 2**32, 2**63, 2**64 - 1]
    )
    return struct.pack("<Q", new) + raw[8:]


def an_entry(raw: bytes, rng: random.Random) -> bytes:
    """A dtype, shape or pair of offsets of another kind or size."""
    header, data = parts(raw)
    for _ in range(rng.randint(1, 2)):
        entry = header[rng.choice([name for name in header if name != "__metadata__"])]
        key = rng.choice(["dtype", "shape", "data_offsets", "more", ""])
        if key == "":
            del entry[rng.choice(sorted(entry))]
            continue
        numbers = [rng.choice(NUMBERS) for _ in range(rng.randint(0, 3))]
        old = entry[key] if isinstance(entry.get(key), list) else [0]
        entry[key] = rng.choice(
            [
                *(
                    rng.choice(["F32", "BF16", "F16", "U8", "F4", "f32", "", "F8_E4M3", "I64", "C64"]),
                    numbers,
                ),
                *(None, "x", 3, {}, list(reversed(old)), old * 2, [*old, 1]),
            ]
        )
    return joined(header, data)


def names(raw: bytes, rng: random.Random) -> bytes:
    """Names that are equal, empty, long, of strange characters, or the metadata's own."""
    header, data = parts(raw)
    names = list(header)
    old = rng.choice(names)
    new = rng.choice(
        [
            "",
            "__metadata__",
            rng.choice(names),
            "\0",
            "\ud800",
            "a" * 70_000,
            "../x",
            "ü",
            old.upper(),
            f"{old} ",
        ]
    )
    text = json.dumps(header, ensure_ascii=rng.random() < 0.5)
    whole = text.replace(json.dumps(old), json.dumps(new), 1)
    return joined(whole.encode("utf-8", "surrogatepass"), data)


def an_overlap(raw: bytes, rng: random.Random) -> bytes:
    """Two tensors in one place, a hole between two, or one past the end."""
    header, data = parts(raw)
    one, other = rng.sample([name for name in header if name != "__metadata__"], 2)
    match rng.randrange(4):
        case 0:
            header[one] = header[other]
        case 1:
            header[one]["data_offsets"] = header[other]["data_offsets"]
        case 2:
            header["new"] = dict(header[one])
        case 3:
            shift = rng.choice([-8, -1, 1, 8, len(data)])
            header[one]["data_offsets"] = [offset + shift for offset in header[one]["data_offsets"]]
    return joined(header, data)


def deep_or_long_json(raw: bytes, rng: random.Random) -> bytes:
    _, data = parts(raw)
    text = rng.choice(
        [
            *(
                b"[" * 200_000,
                b'{"a":' * 100_000,
                b'{"a":' + b"9" * 10_000 + b"}",
                b"null",
                b"7",
                b'"x"',
                b"NaN",
            ),
            *(
                b'{"a": NaN}',
                b'{"a": {"dtype": "F32", "shape": [' + b"1," * 100 + b'1], "data_offsets": [0, 4]}}',
            ),
            *(
                b'{"a": {"dtype": "F32", "shape": [' + b"9" * 4000 + b'], "data_offsets": [0, 4]}}',
                b"",
                b"{}",
            ),
        ]
    )
    return joined(text, rng.choice([data, b"", b"1234"]))


def metadata(raw: bytes, rng: random.Random) -> bytes:
    header, data = parts(raw)
    header["__metadata__"] = rng.choice([None, 3, [], {}, {"a": 1}, {"a": None}, {"format": "tf"}, "x"])
    return joined(header, data)


NUMBERS = (
    0,
    1,
    2,
    3,
    8,
    -1,
    -8,
    2**31,
    2**32,
    2**62,
    2**63,
    2**64,
    10**30,
    1.0,
    1e300,
    True,
    False,
    None,
    "1",
    [],
)
DAMAGES: tuple[Damage, ...] = (
    bytes_of_the_header,
    bytes_of_the_file,
    characters_of_the_header,
    a_cut,
    a_length,
    an_entry,
    names,
    an_overlap,
    deep_or_long_json,
    metadata,
)
