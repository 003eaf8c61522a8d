"""Hostile pickles: refused in bounded memory and time, with a short message."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_archives import PROTO, archive, called, named, stored, text

from adamms.checkpoint.fingerprint import fingerprint_tensors
from adamms.checkpoint.tensor_file import read_header
from adamms.checkpoint.tensor_values import map_tensor
from adamms.errors import AdammsError

# A tuple of two copies of the tuple before it, and so on: 2**60 parts where it is written out.
NESTED = b"N" + b"".join(bytes([113, k, 104, k, 0x86]) for k in range(60))
DEEP = b"N" + b"\x85" * 500_000
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
NO_HOOKS = called("collections.OrderedDict")
FOUR = (b"K\0", b"K\4\x85", b"K\1\x85")  # offset, shape, strides


def a_dict(value: bytes) -> bytes:
    return PROTO + b"}" + text("w") + value + b"s."


def a_tensor(*arguments: bytes, version: str = "_v2") -> bytes:
    return a_dict(called(f"torch._utils._rebuild_tensor{version}", *arguments))


def with_state(state: bytes) -> bytes:
    whole = called("torch._utils._rebuild_tensor", stored(), *FOUR)
    return a_dict(called("torch._utils._rebuild_parameter_with_state", whole, b"\x89", NO_HOOKS, state))


READ = {
    "no metadata": a_tensor(stored(), *FOUR, b"\x89", NO_HOOKS),
    "empty metadata": a_tensor(stored(), *FOUR, b"\x89", NO_HOOKS, b"}"),
    "the first version": a_tensor(stored(), *FOUR, version=""),
    "bytes of a named dtype": a_tensor(
        stored(64, "torch.storage.UntypedStorage"),
        *(*FOUR, b"\x89", NO_HOOKS, named("torch.float32")),
        version="_v3",
    ),
    "an attribute of transformers": with_state(b"}" + text("_is_hf_initialized") + b"\x88s"),
}


def test_what_torch_writes_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    for name, pickled in READ.items():
        file = tmp_path / f"{name}.bin"
        file.write_bytes(archive(pickled))
        assert map_tensor(read_header(file)["w"]).tolist() == torch.load(file)["w"].tolist() == [0, 1, 2, 3]


REFUSED = {
    "a negative view": (
        a_tensor(stored(), *FOUR, b"\x89", NO_HOOKS, b"}" + text("neg") + b"\x88s"),
        "'w' is a negative",
    ),
    "metadata that nobody knows": (
        a_tensor(stored(), *FOUR, b"\x89", NO_HOOKS, b"}" + text("x") + b"\x88s"),
        "'w' is a",
    ),
    "hooks": (a_tensor(stored(), *FOUR, b"\x89", b"}" + text("x") + b"Ns"), "hooks"),
    "a gradient that is a number": (a_tensor(stored(), *FOUR, b"K\0", NO_HOOKS), "requires_grad of 0"),
    "a state that replaces the values": (
        with_state(b"}" + text("data") + b"Ns"),
        "to set 'data' of a tensor",
    ),
    "more elements than the record": (
        a_tensor(stored(17), *FOUR, version=""),
        "17 elements of torch.float32 in 64 bytes",
    ),
    "fewer elements than the record": (a_tensor(stored(15), *FOUR, version=""), "15 elements"),
    "two dtypes of one storage": (
        PROTO + stored() + stored(8, "torch.DoubleStorage") + b".",
        "lies about the storage '0'",
    ),
    "the storage of another function": (
        a_tensor(named("torch.float32"), *FOUR, version=""),
        "a tensor of None",
    ),
    "a tensor of 4 PB in 64 bytes": (
        a_tensor(
            stored(), b"K\0", b"\x8a\7" + (1 << 50).to_bytes(7, "little") + b"\x85", b"K\0\x85", version=""
        ),
        "'w' repeats 64 stored bytes over",
    ),
    "the memo's number 100,000,000": (PROTO + b"}r" + (10**8).to_bytes(4, "little") + b".", "gaps"),
    "nested tuples as a storage": (PROTO + NESTED + b"Q.", "malformed reference to a storage: "),
    "nested tuples as a function": (PROTO + NESTED + b")R.", "a call of "),
    "nested tuples as a tensor": (a_dict(NESTED), "'w' is a tuple"),
    "nested tuples as a dtype": (
        a_tensor(stored(), *FOUR, b"\x89", NO_HOOKS, NESTED, version="_v3"),
        "a tensor of ",
    ),
    "nested tuples as a shape": (a_tensor(stored(), b"K\0", NESTED, b")", version=""), "lies about 'w'"),
    "nested tuples as a layout": (
        a_dict(called("torch._utils._rebuild_sparse_tensor", NESTED, b"N")),
        "a sparse tensor",
    ),
    "nested tuples as a state": (with_state(NESTED), "with the state"),
    "a deep tuple as a key": (PROTO + b"}" + DEEP + b"Ns.", "a dict with the key"),
    "a deep tuple as a value": (a_dict(DEEP), "'w' is a tuple"),
    "a deep call": (
        a_dict(called(FROM_TYPE, named(FROM_TYPE), named("torch.Tensor"), b")N")),
        "made by a function",
    ),
    "a key that is a number": (PROTO + b"}K\1Ns.", "a dict with the key 1"),
    "a million dicts": (PROTO + b"}" * 1_200_000 + b".", "more than 1000800 opcodes"),
    "a text of 2 GB": (PROTO + b"X\xff\xff\xff\x7fa.", "expected 2147483647 bytes"),
    "a name of 20 MB": (PROTO + b"}" + text("n" * 20_000_000) + b"Ns.", "'nnn"),
    "a number of 20 MB": (
        PROTO + b"\x8b" + (20_000_000).to_bytes(4, "little") + b"\1" * 20_000_000 + b".",
        "opcode LONG4",
    ),
    "a name that no text encodes": (
        PROTO + b"}X\3\0\0\0\xed\xa0\x80" + READ["no metadata"][9:],
        "no valid text",
    ),
    "more than is there": (PROTO + b"\x87.", "more than there is"),
    "a frame of protocol 4": (b"\x80\x04\x95" + bytes(8) + b"}.", "pickle_protocol=4"),
    "a class": (PROTO + named("builtins.set") + b")R.", "builtins.set"),
    "a class made new": (PROTO + named("torch.Tensor") + b")\x81.", "opcode NEWOBJ"),
    "an attribute of torch that is no function of pickles": (PROTO + named("torch.hub") + b".", "torch.hub"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Case -> what is said of it, all in one process of at most 2 GB and a minute."""
    folder = tmp_path_factory.mktemp("refused")
    files = []
    for number, (pickled, _) in enumerate(REFUSED.values()):
        files.append(folder / f"{number}.bin")
        files[-1].write_bytes(archive(pickled))
    told = subprocess.run(
        [sys.executable, "-c", _READ_ALL, *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr[-2000:]
    return dict(zip(REFUSED, told.stdout.splitlines(), strict=True))


_READ_ALL = """
import resource, sys
from pathlib import Path
from adamms.checkpoint.tensor_file import read_header
from adamms.errors import AdammsError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
for file in sys.argv[1:]:
    try:
        print("read", read_header(Path(file)))
    except AdammsError as error:
        print(error)
"""


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_pickle_is_refused_at_once(case: str, refused: dict[str, str]) -> None:
    assert REFUSED[case][1] in refused[case]
    assert len(refused[case]) < 500


def test_a_view_of_one_dimension_with_strides_is_read_and_fingerprinted(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(12.0).reshape(3, 4)[:, 1]}, tmp_path / "a.bin")
    torch.save({"w": torch.tensor([1.0, 5.0, 9.0])}, tmp_path / "b.bin")
    strided, plain = read_header(tmp_path / "a.bin"), read_header(tmp_path / "b.bin")
    assert map_tensor(strided["w"]).tolist() == [1, 5, 9]
    assert fingerprint_tensors(strided) == fingerprint_tensors(plain)


@pytest.mark.parametrize(
    "view", [torch._neg_view(torch.ones(4)), torch.ones(2, dtype=torch.complex64).conj().imag]
)
def test_a_negative_view_is_refused(view: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"w": view}, tmp_path / "a.bin")
    with pytest.raises(
        AdammsError, match=r"'w' is a negative or conjugate view.*save it with tensor\.resolve_neg"
    ):
        read_header(tmp_path / "a.bin")
