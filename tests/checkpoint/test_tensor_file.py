"""Headers and values of single files, against the readers of safetensors and torch themselves."""

import io
import json
import os
import pickle
import random
import struct
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from safetensors.torch import save_file
from tiny import assert_same_bits

from adamms.checkpoint.tensor_entry import DTYPES, TensorEntry
from adamms.checkpoint.tensor_file import read_header
from adamms.checkpoint.tensor_values import map_tensor, torch_dtype
from adamms.checkpoint.torch_zip import torch_headers
from adamms.errors import AdammsError

State = dict[str, torch.Tensor]


def of_every_dtype() -> State:
    values = torch.tensor([[0.0, -0.0, 1.5], [-2.0, 3.0, 0.25]])
    state = {name: values.to(torch_dtype(name)) for name in DTYPES}
    state["scalar"] = torch.tensor(3.5, dtype=torch.bfloat16)
    state["empty"] = torch.empty(0, 4)
    state["nan and inf"] = torch.tensor([float("nan"), float("inf"), -float("inf")], dtype=torch.float16)
    return state


def header_of(raw: bytes) -> tuple[dict[str, object], bytes]:
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def with_header(header: object, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


# ---------------------------------------------------------------- safetensors


def test_safetensors_of_every_dtype_reads_as_safetensors_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file(of_every_dtype(), file)
    header = read_header(file)
    expected = load_safetensors(file.read_bytes())
    assert header.keys() == expected.keys()
    for name, tensor in expected.items():
        assert header[name].nbytes == tensor.numel() * tensor.element_size()
        assert_same_bits(map_tensor(header[name]), tensor)


def test_unaligned_tensors_read_correctly(tmp_path: Path) -> None:
    # A U8 of three bytes in front, which safetensors itself would put last.
    values = torch.tensor([1.0, -2.0, 3.0])
    header = {
        "u": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "f": {"dtype": "F32", "shape": [3], "data_offsets": [3, 15]},
    }
    file = tmp_path / "a.safetensors"
    file.write_bytes(with_header(header, b"\1\2\3" + values.numpy().tobytes()))
    entries = read_header(file)
    assert entries["f"].offset % 4
    assert torch.equal(map_tensor(entries["f"]), values)
    assert map_tensor(entries["u"]).tolist() == [1, 2, 3]


def test_unaligned_strided_tensors_read_correctly(tmp_path: Path) -> None:
    values = torch.arange(12.0)
    file = tmp_path / "raw.bin"
    file.write_bytes(b"x" + values.numpy().tobytes())
    entry = TensorEntry("t", (4, 3), "F32", file, 1, (1, 4))
    assert torch.equal(map_tensor(entry), values.reshape(3, 4).T)


def test_a_view_outlives_its_file_and_does_not_write_to_it(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(4)}, file)
    before = file.read_bytes()
    view = map_tensor(read_header(file)["a"])
    view += 1
    assert file.read_bytes() == before
    file.unlink()
    assert view.tolist() == [2, 2, 2, 2]


A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
B = {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}

LIES = {
    "no prefix": (b"\x07", "truncated"),
    "header longer than the file": (with_header({"a": A}, b"", length=10**6), "truncated or not safetensors"),
    "header of 2**63 bytes": (with_header({"a": A}, b"", length=1 << 63), "truncated or not safetensors"),
    "not JSON": (with_header(b"{nonsense", b""), "not JSON"),
    "not UTF-8": (with_header(b'{"\xff\xfe": 1}', b""), "not JSON"),
    "nested too deeply": (with_header(b"[" * 100_000, b""), "not JSON"),
    "not an object": (with_header([1, 2], b""), "not a JSON object"),
    "entry is a number": (with_header({"a": 7}, b""), "malformed header entry for 'a'"),
    "entry lacks offsets": (with_header({"a": {"dtype": "F32", "shape": [2]}}, b""), "malformed"),
    "shape is text": (with_header({"a": A | {"shape": "2"}}, b"12345678"), "malformed"),
    "shape of a fraction": (with_header({"a": A | {"shape": [2.0]}}, b"12345678"), "malformed"),
    "negative shape": (with_header({"a": A | {"shape": [-2]}}, b"12345678"), "malformed"),
    "absurd shape": (with_header({"a": A | {"shape": [2**62] * 2000}}, b"12345678"), "malformed"),
    "empty, yet absurd": (with_header({"a": A | {"shape": [0, 2**62, 2**62]}}, b""), "malformed"),
    "three offsets": (with_header({"a": A | {"data_offsets": [0, 8, 9]}}, b"12345678"), "malformed"),
    "unknown dtype": (
        with_header({"a": A | {"dtype": "F4"}}, b"12345678"),
        "dtype F4, which looks quantised",
    ),
    "dtype of another width": (with_header({"a": A | {"dtype": "F64"}}, b"12345678"), "lies about 'a'"),
    "shape too large": (with_header({"a": A | {"shape": [3]}}, b"12345678"), "lies about 'a'"),
    "negative offset": (with_header({"a": A | {"data_offsets": [-8, 0]}}, b"12345678"), "lies about 'a'"),
    "offsets swapped": (with_header({"a": A | {"data_offsets": [8, 0]}}, b"12345678"), "lies about 'a'"),
    "huge offsets": (
        with_header({"a": A | {"data_offsets": [10**4000, 10**4000 + 8]}}, b"12345678"),
        "lies about 'a'",
    ),
    "overlap": (with_header({"a": A, "b": B | {"data_offsets": [4, 8]}}, b"12345678"), "lies about 'b'"),
    "hole": (
        with_header({"a": A, "b": B | {"data_offsets": [12, 16]}}, b"1234567812345678"),
        "lies about 'b'",
    ),
    "does not start at 0": (with_header({"a": A | {"data_offsets": [4, 12]}}, b"123456781234"), "lies about"),
    "trailing bytes": (with_header({"a": A}, b"12345678extra"), "5 bytes after the last tensor"),
    "truncated data": (with_header({"a": A}, b"1234567"), "truncated: the header promises"),
    "no data": (with_header({"a": A, "b": B}, b""), "truncated: the header promises"),
}


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    for i, lie in enumerate(LIES):
        folder = tmp_path / str(i)
        folder.mkdir()
        raw, message = LIES[lie]
        file = folder / "a.safetensors"
        file.write_bytes(raw)
        with pytest.raises(AdammsError, match=message) as caught:
            read_header(file)
        assert str(file) in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"a\.safetensors: no such file"):
        read_header(tmp_path / "a.safetensors")


_SMALL = save_safetensors(
    {
        "w": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "b": torch.ones(2, dtype=torch.bfloat16),
        "e": torch.empty(0),
    },
    {"format": "pt"},
)
_HEADER_END = 8 + struct.unpack("<Q", _SMALL[:8])[0]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """The small file with up to three header bytes changed, inserted or removed, or cut anywhere."""
    raw = bytearray(_SMALL)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, min(_HEADER_END, len(raw)) - 1))
        match draw(st.sampled_from(["flip", "set", "insert", "delete"])):
            case "flip":
                raw[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                raw[place] = draw(st.sampled_from(b'0123456789-{}[]",:.eFIUB\x00\xff'))
            case "insert":
                raw.insert(place, draw(st.sampled_from(b'0123456789-{}[]",: ')))
            case "delete":
                del raw[place]
    return bytes(raw[: draw(st.integers(0, len(raw)))]) if draw(st.booleans()) else bytes(raw)


@given(mutations())
def test_a_mutated_header_is_refused_or_read_as_safetensors_reads_it(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.safetensors"
        file.write_bytes(raw)
        try:
            found = {name: map_tensor(entry) for name, entry in read_header(file).items()}
        except AdammsError:
            return
        try:
            expected = load_safetensors(raw)
        except (SafetensorError, UnicodeDecodeError):  # it is stricter, e.g. about metadata of numbers
            assert sum(tensor.nbytes for tensor in found.values()) <= len(raw)
            return
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert_same_bits(found[name], tensor)


@given(st.integers(0, len(_SMALL) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.safetensors"
        file.write_bytes(_SMALL[:length])
        with pytest.raises(AdammsError):
            read_header(file)


# ---------------------------------------------------------------- torch


@pytest.mark.parametrize("suffix", ["bin", "pth", "pt"])
def test_torch_file_reads_as_torch_reads_it(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    torch.save(of_every_dtype(), file)
    header = read_header(file)
    expected = torch.load(file, weights_only=True)
    assert header.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_same_bits(map_tensor(header[name]), tensor)


def test_views_shared_storage_and_parameters_of_a_torch_file(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "base": base,
        "same storage": base,
        "transposed": base.T,
        "window": base[1:3, 2:4],
        "every other column": base[:, ::2],
        "row": base[2],
        "broadcast": torch.ones(1).expand(3, 2),
        "scalar in the middle": base[1, 3],
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    file = tmp_path / "a.bin"
    torch.save(state, file)
    header = read_header(file)
    for name, tensor in torch.load(file, weights_only=True).items():
        assert_same_bits(map_tensor(header[name]), tensor.detach())
    assert header["base"].offset == header["same storage"].offset


def repack(source: Path, copy: Path, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(copy, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))


def test_an_archive_that_another_tool_packed_is_read_where_its_storages_lie(tmp_path: Path) -> None:
    file, packed = tmp_path / "a.bin", tmp_path / "b.bin"
    torch.save({"a": torch.arange(12.0), "b": torch.arange(5.0)}, file)
    repack(file, packed)
    header = read_header(packed)
    assert {entry.offset for entry in header.values()}.isdisjoint(
        entry.offset for entry in read_header(file).values()
    )
    for name, tensor in torch.load(packed, weights_only=True).items():
        assert_same_bits(map_tensor(header[name]), tensor)


def test_a_compressed_archive_is_refused_because_it_cannot_be_mapped(tmp_path: Path) -> None:
    file, packed = tmp_path / "a.bin", tmp_path / "b.bin"
    torch.save({"a": torch.zeros(100)}, file)
    repack(file, packed, zipfile.ZIP_DEFLATED)
    with pytest.raises(AdammsError, match=r"is compressed; re-save the file with torch\.save"):
        read_header(packed)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    file, trace = tmp_path / "a.bin", tmp_path / "executed"
    torch.save({"a": torch.ones(2), "b": Malicious(trace)}, file)
    with pytest.raises(AdammsError, match=r"refused, not executed: .*posix\.system"):
        read_header(file)
    assert not trace.exists()
    # The trap works: an ordinary unpickling springs it.
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists()


class Forged:
    """Pickled as a call of torch's own function with these arguments, and then a state."""

    def __init__(self, arguments: tuple[object, ...], state: object = None) -> None:
        self.reduced = (torch._utils._rebuild_tensor_v2, arguments, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


FOUR = torch.storage.TypedStorage(
    wrap_storage=torch.ones(4).untyped_storage(), dtype=torch.float32, _internal=True
)
FORGED = {
    "negative size": Forged((FOUR, 0, (-4,), (1,), False, OrderedDict())),
    "negative offset": Forged((FOUR, -4, (4,), (1,), False, OrderedDict())),
    "sizes without strides": Forged((FOUR, 0, (2, 2), (1,), False, OrderedDict())),
    "sizes that are no numbers": Forged((FOUR, 0, ("a",), (1,), False, OrderedDict())),
    "more than is stored": Forged((FOUR, 0, (5,), (1,), False, OrderedDict())),
    "state over the header": Forged((FOUR, 0, (4,), (1,), False, OrderedDict()), {"offset": -100}),
    "no storage": Forged((None, 0, (4,), (1,), False, OrderedDict())),
}


def test_a_pickle_that_lies_about_a_tensor_is_refused(tmp_path: Path) -> None:
    for i, case in enumerate(FORGED):
        folder = tmp_path / str(i)
        folder.mkdir()
        file = folder / "a.bin"
        torch.save({"a": FORGED[case]}, file)
        with pytest.raises(
            AdammsError, match=r"a\.bin: (the pickle lies about 'a'|refused, not executed|not a readable)"
        ):
            read_header(file)


def _mutations(raw: bytes, count: int) -> Iterator[bytes]:
    """`raw` with one to three bytes replaced, the same ones in every run."""
    generator = random.Random(0)
    for _ in range(count):
        mutated = bytearray(raw)
        for _ in range(generator.randint(1, 3)):
            mutated[generator.randrange(len(raw))] = generator.randrange(256)
        yield bytes(mutated)


# What torch.load raises over malformed pickles, of which it refuses more than we do.
TORCH_REFUSES = (
    *(pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, AssertionError, EOFError),
)


def _small_torch_file(file: Path) -> bytes:
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict(), file)
    return file.read_bytes()


def test_a_mutated_torch_archive_is_refused_or_read_within_its_file(tmp_path: Path) -> None:
    """Not compared with torch, which fills what a mutated directory cuts off with whatever is in memory."""
    file = tmp_path / "a.bin"
    read = 0
    for raw in _mutations(_small_torch_file(file), 300):
        file.write_bytes(raw)
        try:
            header = read_header(file)
        except AdammsError:
            continue
        read += 1
        for entry in header.values():
            assert map_tensor(entry).clone().nbytes == entry.nbytes <= len(raw)
    assert read > 5


@pytest.mark.filterwarnings("ignore")  # torch's, about what the mutations turn its pickle into
def test_a_mutated_torch_pickle_is_refused_or_read_as_torch_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    _small_torch_file(file)
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    (pickled,) = [name for name in members if name.endswith("data.pkl")]
    read = 0
    for raw in _mutations(members[pickled], 300):
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, raw if name == pickled else content)
        try:
            found = {name: map_tensor(entry) for name, entry in read_header(file).items()}
        except AdammsError:
            continue
        try:
            expected = torch.load(file, weights_only=True)
        except TORCH_REFUSES:
            continue
        read += 1
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert_same_bits(found[name].clone(), tensor.clone())
    assert read > 5


def test_the_functions_that_a_pickle_may_call_cannot_be_changed_by_it(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    pickled = pickle.dumps(torch._utils._rebuild_tensor_v2, protocol=2).removesuffix(b".")
    state = pickle.dumps((None, {"__defaults__": (1,), "mark": 1}), protocol=2)[2:]  # without its PROTO
    torch.save({"a": torch.ones(1)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "b.bin", "w") as new:
        for member in old.infolist():
            forged = member.filename.endswith("data.pkl")
            raw = pickled + state.removesuffix(b".") + b"b." if forged else old.read(member)
            new.writestr(member.filename, raw)
    with pytest.raises(AdammsError, match="to set the state of a function"):
        read_header(tmp_path / "b.bin")
    assert torch_headers._rebuild_tensor_v2.__defaults__ == (None,)
    assert not hasattr(torch_headers._rebuild_tensor_v2, "mark")


def test_the_other_byte_order_is_refused(tmp_path: Path) -> None:
    file, packed = tmp_path / "a.bin", tmp_path / "b.bin"
    torch.save({"a": torch.ones(3)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(packed, "w") as new:
        for member in old.infolist():
            other = member.filename.endswith("byteorder")
            new.writestr(member.filename, b"big" if other else old.read(member))
    with pytest.raises(AdammsError, match="the other byte order"):
        read_header(packed)


def test_a_state_dict_of_a_module_reads_with_its_metadata_and_buffers(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save(module.state_dict(), tmp_path / "a.bin")
    header = read_header(tmp_path / "a.bin")
    assert list(header) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        assert_same_bits(map_tensor(header[name]), tensor)


def test_a_malicious_bare_pickle_is_not_executed(tmp_path: Path) -> None:
    file, trace = tmp_path / "a.bin", tmp_path / "executed"
    file.write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(AdammsError, match="not a readable torch zip archive"):
        read_header(file)
    assert not trace.exists()


def _old_format(file: Path) -> None:
    torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=False)


def _truncated(file: Path) -> None:
    torch.save({"a": torch.ones(1000)}, file)
    file.write_bytes(file.read_bytes()[:2000])


def _only_the_middle_missing(file: Path) -> None:
    torch.save({"a": torch.ones(1000)}, file)
    raw = file.read_bytes()
    file.write_bytes(raw[:1000] + raw[3000:])


def _foreign_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello", "x")


BROKEN = {
    "old tar-like format": (_old_format, "not a readable torch zip archive"),
    "truncated": (_truncated, "not a readable torch zip archive"),
    "cut in the middle": (_only_the_middle_missing, "not a readable torch zip archive"),
    "empty": (lambda file: file.write_bytes(b""), "not a readable torch zip archive"),
    "noise": (lambda file: file.write_bytes(bytes(range(256)) * 4), "not a readable torch zip archive"),
    "another zip": (_foreign_zip, "not a readable torch zip archive"),
    "a list": (lambda file: torch.save([torch.ones(1)], file), "holds a list; expected a dict"),
    "a lone tensor": (lambda file: torch.save(torch.ones(1), file), "holds a Tensor|holds a FakeTensor"),
    "nested": (lambda file: torch.save({"vision": {"a": torch.ones(1)}}, file), "'vision' is a dict"),
    "a number": (lambda file: torch.save({"step": 3}, file), "'step' is a int"),
    "names that are numbers": (lambda file: torch.save({3: torch.ones(1)}, file), "the key 3"),
    "complex": (lambda file: torch.save({"a": torch.ones(1, dtype=torch.complex64)}, file), "complex64"),
    "sparse": (lambda file: torch.save({"a": torch.eye(2).to_sparse()}, file), "is a sparse tensor"),
    "meta": (lambda file: torch.save({"a": torch.ones(1, device="meta")}, file), "is on the meta device"),
}


def test_a_torch_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    for i, case in enumerate(BROKEN):
        folder = tmp_path / str(i)
        folder.mkdir()
        make, message = BROKEN[case]
        file = folder / "a.bin"
        make(file)
        with pytest.raises(AdammsError, match=message) as caught:
            read_header(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["state_dict", "module", "model"])
def test_weights_are_found_beside_the_state_of_training(key: str, tmp_path: Path) -> None:
    """As Lightning's and DeepSpeed's files have them."""
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    saved = {
        "epoch": 3,
        key: layer.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": {},
    }
    torch.save(saved, tmp_path / "last.ckpt")
    found = read_header(tmp_path / "last.ckpt")
    assert {name: entry.shape for name, entry in found.items()} == {"weight": (2, 3), "bias": (2,)}
    assert torch.equal(map_tensor(found["bias"]), layer.bias)


def test_every_truncation_of_a_torch_file_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(64), "b": torch.zeros(3, dtype=torch.float16)}, buffer)
    raw = buffer.getvalue()
    file = tmp_path / "a.bin"
    for length in range(0, len(raw), 37):
        file.write_bytes(raw[:length])
        with pytest.raises(AdammsError):
            read_header(file)


def test_a_header_is_read_without_reading_the_values(tmp_path: Path) -> None:
    """A file of 1 TB that is all hole has a header like any other."""
    file = tmp_path / "a.safetensors"
    size = 1 << 40
    header = {"a": {"dtype": "BF16", "shape": [1 << 20, 1 << 19], "data_offsets": [0, size]}}
    file.write_bytes(with_header(header, b""))
    try:
        os.truncate(file, file.stat().st_size + size)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    assert read_header(file)["a"].nbytes == size
