"""Damaged torch archives: their values are those that torch.load reads, or they are refused."""

import io
import pickletools
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from damage import check_values, some_bytes
from fault import Fault, Wrong

from adamms.checkpoint.tensor_file import read_header

SHARE = 25
# The archive's records in their order, and what is damaged in them.
Records = list[tuple[str, bytes]]
Damage = Callable[[bytes, random.Random], bytes]


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    archives = [saved(state) for state in states()]
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        damage = DAMAGES[number % len(DAMAGES)]
        raw = rng.choice(archives)
        yield Fault(
            damage.__name__.replace("_", " "),
            lambda folder, raw=raw, rng=rng, damage=damage: trial(folder, damage(raw, rng)),
        )


def trial(folder: Path, raw: bytes) -> None:
    """Read it, and compare with torch if it is read."""
    file = folder / "pytorch_model.bin"
    file.write_bytes(raw)
    found = read_header(file)
    try:
        with warnings.catch_warnings(action="ignore"):
            expected = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:
        raise Wrong(f"torch does not read it: {str(error)[:200]}") from error
    check_values(found, expected)


def states() -> list[dict[str, object]]:
    base = torch.arange(24.0).reshape(4, 6)
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    parameter._is_hf_initialized = True  # as transformers does
    return [
        dict(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()),
        {
            "base": base,
            "t": base.T,
            "window": base[1:3, 2:4],
            "column": base[:, 1],
            "wide": base[:1].expand(3, 6),
        },
        {
            "a": parameter,
            "b": torch.ones(2, 2, dtype=torch.float8_e4m3fn),
            "c": torch.empty(0, 3),
            "d": torch.tensor(7),
        },
        {
            "n": torch._neg_view(torch.ones(4)),
            "i": torch.arange(5, dtype=torch.int16),
            "s": torch.eye(2).to_sparse(),
        },
    ]


def saved(state: dict[str, object]) -> bytes:
    held = io.BytesIO()
    torch.save(state, held)
    return held.getvalue()


def records_of(raw: bytes) -> Records:
    with zipfile.ZipFile(io.BytesIO(raw)) as packed:
        return [(member.filename, packed.read(member)) for member in packed.infolist()]


def packed(records: Records) -> bytes:
    held = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(held, "w") as archive:
        for name, content in records:
            archive.writestr(name, content)
    return held.getvalue()


def with_pickle(raw: bytes, damage: Damage, rng: random.Random) -> bytes:
    """The archive with its data.pkl damaged."""
    return packed([(n, damage(c, rng) if n.endswith("/data.pkl") else c) for n, c in records_of(raw)])


def bytes_of_the_pickle(raw: bytes, rng: random.Random) -> bytes:
    return with_pickle(raw, some_bytes, rng)


def bytes_of_the_file(raw: bytes, rng: random.Random) -> bytes:
    return some_bytes(raw, rng)


def bytes_of_the_directory(raw: bytes, rng: random.Random) -> bytes:
    start = raw.index(b"PK\x01\x02")
    return raw[:start] + some_bytes(raw[start:], rng)


def bytes_of_a_header(raw: bytes, rng: random.Random) -> bytes:
    start = rng.choice([at for at in range(len(raw)) if raw.startswith(b"PK\x03\x04", at)])
    return raw[:start] + some_bytes(raw[start : start + 60], rng) + raw[start + 60 :]


def a_cut(raw: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(raw))
    return rng.choice([raw[:start], raw[start:], raw[:start] + raw[start + rng.randint(1, 80) :]])


def opcodes_of_the_pickle(raw: bytes, rng: random.Random) -> bytes:
    """Opcodes left out, doubled, swapped, or taken from elsewhere in the pickle."""

    def shuffled(pickled: bytes, rng: random.Random) -> bytes:
        starts = [position for _, _, position in pickletools.genops(pickled)]
        parts = [pickled[a:b] for a, b in zip(starts, [*starts[1:], len(pickled)], strict=True)]
        for _ in range(rng.randint(1, 3)):
            one, other = rng.randrange(1, len(parts)), rng.randrange(1, len(parts))
            match rng.randrange(4):
                case 0:
                    del parts[one]
                case 1:
                    parts.insert(one, parts[other])
                case 2:
                    parts[one], parts[other] = parts[other], parts[one]
                case 3:
                    parts[one] = rng.choice(STRANGE)
        return b"".join(parts)

    return with_pickle(raw, shuffled, rng)


def numbers_of_the_pickle(raw: bytes, rng: random.Random) -> bytes:
    """Offsets, sizes, strides and counts of elements."""

    def changed(pickled: bytes, rng: random.Random) -> bytes:
        numbers = [
            (position, opcode.name, value)
            for opcode, value, position in pickletools.genops(pickled)
            if opcode.name in ("BININT", "BININT1", "BININT2")
        ]
        position, opcode, value = rng.choice(numbers)
        width = {"BININT": 5, "BININT1": 2, "BININT2": 3}[opcode]
        new = rng.choice(
            [-1, 0, 1, value + 1, value - 1, value * 2, 255, 2**31 - 1, -(2**31), 2**62, 2**63, 2**64]
        )
        return pickled[:position] + _number(new) + pickled[position + width :]

    return with_pickle(raw, changed, rng)


def globals_of_the_pickle(raw: bytes, rng: random.Random) -> bytes:
    def changed(pickled: bytes, rng: random.Random) -> bytes:
        named = [(at, name) for opcode, name, at in pickletools.genops(pickled) if opcode.name == "GLOBAL"]
        position, name = rng.choice(named)
        new = rng.choice(NAMES).encode()
        return pickled[: position + 1] + new + pickled[position + 1 + len(name) + 1 :]

    return with_pickle(raw, changed, rng)


def records_of_the_archive(raw: bytes, rng: random.Random) -> bytes:
    """Records left out, doubled, renamed, longer, shorter, or in another order."""
    records = records_of(raw)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(records))
        name, content = records[at]
        match rng.randrange(8):
            case 0:
                del records[at]
            case 1:
                records.insert(rng.randrange(len(records)), (name, some_bytes(content or b"x", rng)))
            case 2:
                records[at] = (rng.choice(records)[0], content)
            case 3:
                records[at] = (name, content + b"\0" * rng.randint(1, 8))
            case 4:
                records[at] = (name, content[: rng.randrange(len(content) + 1)])
            case 5:
                rng.shuffle(records)
            case 6:
                records[at] = (rng.choice(["x/", "", "/", "archive/../"]) + name.swapcase(), content)
            case 7:
                root = name.partition("/")[0]
                new = rng.choice(
                    ["constants.pkl", "byteorder", ".format_version", "version", ".storage_alignment"]
                )
                records.append((f"{root}/{new}", rng.choice([b"big", b"0", b"11", b"3", b"", b"x"])))
        if not records:
            break
    return packed(records)


def another_file_in_front(raw: bytes, rng: random.Random) -> bytes:
    return rng.choice([rng.randbytes(rng.randint(1, 99)), packed(records_of(raw)), raw]) + raw


def hostile_parts(raw: bytes, rng: random.Random) -> bytes:
    """Tuples that nest, numbers of the memo, lengths of texts: put before the end of the pickle."""
    return with_pickle(raw, lambda pickled, rng: pickled[:-1] + rng.choice(HOSTILE) + b".", rng)


def _number(value: int) -> bytes:
    raw = value.to_bytes(10, "little", signed=True)
    return b"\x8a\x0a" + raw


STRANGE = (
    *(bytes([opcode]) for opcode in b"N\x88\x89)]}(t\x85\x86\x87RbQsuae\x81\x8f021"),
    *(b"h\x00", b"q\xff", b"K\x02", b"\x80\x04", b"C\x00", b"G" + bytes(8), b"\x8a\x00", b"P0\n"),
    *(b"X\x01\x00\x00\x00w", b"c__builtin__\nset\n", b"ctorch\nSize\n"),
)
NAMES = tuple(
    name.replace(" ", "\n") + "\n"
    for name in (
        *("torch DoubleStorage", "torch HalfStorage", "torch CharStorage", "torch QInt8Storage"),
        *("torch.storage UntypedStorage", "torch float32", "torch complex64", "torch hub", "torch Size"),
        *("torch Tensor", "torch.nn.parameter Parameter", "collections Counter", "os system"),
        *("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_qtensor"),
        *("torch._tensor _rebuild_from_type_v2", "torch._utils _rebuild_parameter"),
    )
)
HOSTILE = (
    b"N" + b"".join(bytes([113, k, 104, k, 0x86]) for k in range(60)) + b"Q",
    b"N" + b"\x85" * 200_000 + b"Ns",
    b"N" + b"\x85" * 200_000 + b"K\1s",
    b"}" * 100_000,
    b"r\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xffabc",
    b"\x8b\xff\xff\xff\x7f",
    b"(" * 100_000,
)
DAMAGES: tuple[Damage, ...] = (
    bytes_of_the_pickle,
    opcodes_of_the_pickle,
    numbers_of_the_pickle,
    globals_of_the_pickle,
    records_of_the_archive,
    bytes_of_the_file,
    bytes_of_the_directory,
    bytes_of_a_header,
    a_cut,
    another_file_in_front,
    hostile_parts,
)
