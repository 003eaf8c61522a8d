"""Written folders: what they hold, and that they are whole or not there."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save

from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.tensor_entry import DTYPES, TensorEntry
from adamms.checkpoint.tensor_values import torch_dtype
from adamms.checkpoint.torch_zip.torch_file import DTYPE_NAMES
from adamms.checkpoint.writer import check_writable, plan_shards, whole_folder, write_tensors
from adamms.errors import AdammsError

GB = 10**9


@dataclass(frozen=True)
class States:
    """A source of tensors at hand, given in pieces of `piece` elements, the last piece first."""

    state: tiny.State
    piece: int = 5

    def layout(self) -> Sequence[TensorEntry]:
        return [
            TensorEntry(name, tuple(t.shape), DTYPE_NAMES[str(t.dtype)], Path("memory"), 0)
            for name, t in self.state.items()
        ]

    def pieces(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        flat = self.state[name].reshape(-1)
        for start in reversed(range(0, flat.numel(), self.piece)):
            yield start, flat[start : start + self.piece]


def of_every_dtype() -> tiny.State:
    values = torch.tensor([[0.0, -0.0, 1.5], [-2.0, 3.0, 0.25]])
    state = {f"{i} {name}": values.to(torch_dtype(name)) for i, name in enumerate(DTYPES)}
    return state | {
        "scalar": torch.tensor(1.25, dtype=torch.bfloat16),
        "empty": torch.empty(3, 0),
        "schön": torch.full((2,), float("nan"), dtype=torch.float16),
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------- what is written


def test_one_file_has_the_bytes_that_safetensors_itself_writes(tmp_path: Path) -> None:
    state = of_every_dtype()
    write_tensors(States(state), tmp_path, GB)
    assert contents(tmp_path) == {"model.safetensors": save(state, {"format": "pt"})}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(
            st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**31)
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 7),
    st.sampled_from([1, 3]),
)
def test_any_state_is_written_as_safetensors_writes_it(
    tmp_path_factory: pytest.TempPathFactory,
    spec: dict[str, tuple[str, list[int], int]],
    piece: int,
    workers: int,
) -> None:
    state = {}
    for name, (dtype, shape, seed) in spec.items():
        generator = torch.Generator().manual_seed(seed)
        state[name] = torch.randint(0, 2, shape, generator=generator).to(torch_dtype(dtype))
    folder = tmp_path_factory.mktemp("any")
    write_tensors(States(state, piece), folder, GB, workers)
    assert contents(folder) == {"model.safetensors": save(state, {"format": "pt"})}


@pytest.mark.parametrize("max_shard_bytes", [1, 30, 100, GB])
def test_every_sharding_reads_back(max_shard_bytes: int, tmp_path: Path) -> None:
    state = of_every_dtype()
    write_tensors(States(state), tmp_path, max_shard_bytes)
    files = sorted(tmp_path.glob("*.safetensors"))
    found = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        tiny.assert_same_bits(found[name], tensor)
    for file in files:
        with safe_open(file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            payload = sum(opened.get_tensor(name).nbytes for name in opened.keys())  # noqa: SIM118
            assert payload <= max_shard_bytes or len(opened.keys()) == 1
    index = tmp_path / "model.safetensors.index.json"
    if len(files) == 1:
        assert files[0].name == "model.safetensors"
        assert not index.exists()
        return
    count = len(files)
    assert [file.name for file in files] == [
        f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)
    ]
    content = json.loads(index.read_text())
    assert content["metadata"]["total_size"] == sum(tensor.nbytes for tensor in state.values())
    assert list(content["weight_map"]) == sorted(state)
    for name, file in content["weight_map"].items():
        assert name in load_file(tmp_path / file)


def test_bytes_do_not_depend_on_workers_pieces_or_the_order_of_the_source(tmp_path: Path) -> None:
    state = of_every_dtype() | {f"w{i}": torch.randn(31, 7) for i in range(9)}
    written = []
    for i, (workers, piece, names) in enumerate(
        [(1, 1000, list(state)), (4, 1000, list(state)), (4, 3, sorted(state, reverse=True))]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        write_tensors(States({name: state[name] for name in names}, piece), folder, 2000, workers)
        written.append(contents(folder))
    assert written[0] == written[1] == written[2]
    assert len(written[0]) > 3


def test_progress_adds_up_to_every_byte(tmp_path: Path) -> None:
    state = of_every_dtype()
    seen: list[int] = []
    write_tensors(States(state), tmp_path, 50, 2, seen.append)
    assert sum(seen) == sum(tensor.nbytes for tensor in state.values())


def test_transformers_loads_what_was_written(tmp_path: Path, qwen2: Path) -> None:
    from transformers import AutoModelForCausalLM

    state = load_file(qwen2 / "model.safetensors")
    write_tensors(States(state, 1000), tmp_path, 40_000)
    shutil.copy(qwen2 / "config.json", tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, state[name])


def test_a_tensor_larger_than_a_shard_gets_its_own() -> None:
    entries = [
        TensorEntry(name, (size,), "U8", Path("memory"), 0)
        for name, size in [("a", 4), ("b", 9), ("c", 3), ("d", 2), ("e", 6)]
    ]
    assert [list(shard.offsets) for shard in plan_shards(entries, 5)] == [["a"], ["b"], ["c", "d"], ["e"]]


def test_what_was_written_is_read_back_and_compared(tmp_path: Path) -> None:
    class Forgetful(States):
        def layout(self) -> Sequence[TensorEntry]:
            first, *rest = super().layout()
            return [first, first, *rest]  # one name twice: the second one's bytes have no place

    with pytest.raises(AdammsError):
        write_tensors(Forgetful({"a": torch.ones(3), "b": torch.ones(2)}), tmp_path, GB)


# ---------------------------------------------------------------- whole or not there


def write_model(folder: Path, state: tiny.State) -> None:
    with whole_folder(folder, sum(t.nbytes for t in state.values())) as partial:
        write_tensors(States(state), partial, 100, 2)


def partial_of(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.partial"


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep" / "model"
    with whole_folder(folder, 10) as partial:
        assert partial.parent == folder.parent
        assert partial.name.startswith(".")
        (partial / "a").write_text("x")
        assert not folder.exists()
    assert contents(folder) == {"a": b"x"}
    assert not partial.exists()


def fail_within(folder: Path, error: BaseException) -> None:
    with whole_folder(folder, 10) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "half.bin").write_text("x")
        raise error


def test_after_an_error_nothing_is_left_but_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "model", tmp_path / "new" / "deep" / "model", tmp_path / "empty" / "model"):
        with pytest.raises(ZeroDivisionError):
            fail_within(folder, ZeroDivisionError())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "kept.txt"]


def test_an_interrupt_cleans_as_an_error_does(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_within(tmp_path / "model", KeyboardInterrupt())
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_writing_thread_ends_the_whole(tmp_path: Path) -> None:
    class Failing(States):
        def pieces(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
            yield from super().pieces(name)
            if name.startswith("scalar"):
                raise AdammsError(f"merging {name} made values that cannot be held")

    folder = tmp_path / "model"
    with pytest.raises(AdammsError, match="merging scalar"), whole_folder(folder, 10) as partial:
        write_tensors(Failing(of_every_dtype()), partial, 100, 2)
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_refused_and_untouched(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine").write_text("x")
    for refused in (lambda: check_writable(folder, 1), lambda: write_model(folder, of_every_dtype())):
        with pytest.raises(AdammsError, match="exists already; choose another output, or remove it"):
            refused()
    assert contents(tmp_path) == {"model/mine": b"x"}


def test_a_second_writer_is_refused_and_does_not_disturb_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with whole_folder(folder, 10) as partial:
        for _ in range(2):
            with pytest.raises(AdammsError, match="another run is writing"), whole_folder(folder, 10):
                raise AssertionError("not reached")
        (partial / "a").write_text("x")  # the first one's folder, empty until now, is still there
        with pytest.raises(AdammsError, match="another run is writing"), whole_folder(folder, 10):
            raise AssertionError("not reached")
    assert contents(tmp_path) == {"model/a": b"x"}


def test_a_writer_that_was_overtaken_between_opening_and_locking_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = tmp_path / "model", fcntl.flock

    def overtaken(descriptor: int, operation: int) -> None:
        if not folder.exists():  # the other run ends just now
            (partial_of(folder) / "a").write_text("theirs")
            partial_of(folder).rename(folder)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with pytest.raises(AdammsError, match="another run was writing"):
        write_model(folder, of_every_dtype())
    assert contents(tmp_path) == {"model/a": b"theirs"}


KILLED = """
import sys, os, signal
from pathlib import Path
from adamms.checkpoint.writer import whole_folder
with whole_folder(Path(sys.argv[1]), 10) as partial:
    (partial / "sub").mkdir()
    (partial / "sub" / "half.bin").write_text("x")
    (partial / "model.safetensors").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_crash_only_the_hidden_sibling_is_left_and_the_next_run_removes_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".model.partial"]
    assert contents(partial_of(folder))
    state = of_every_dtype()
    write_model(folder, state)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert set(open_checkpoint(folder).tensors) == set(state)
    assert not (folder / "sub").exists()


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A model of somebody else's, with a subfolder."""
    folder = tmp_path / "theirs"
    (folder / "sub").mkdir(parents=True)
    write_tensors(States(of_every_dtype()), folder, GB)
    (folder / "sub/code.py").write_text("pass")
    return folder


@pytest.mark.parametrize("leads", ["to a folder", "nowhere", "to a file"])
def test_a_link_in_the_partial_folders_place_is_not_followed(
    tmp_path: Path, theirs: Path, leads: str
) -> None:
    before = contents(theirs)
    folder = tmp_path / "out/model"
    folder.parent.mkdir()
    goal = {"to a folder": theirs, "nowhere": tmp_path / "nothing", "to a file": theirs / "model.safetensors"}
    partial_of(folder).symlink_to(goal[leads])
    state = {"a": torch.ones(3)}
    write_model(folder, state)
    assert contents(theirs) == before
    assert contents(folder) == {"model.safetensors": save(state, {"format": "pt"})}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_links_in_a_leftover_are_removed_and_not_followed(tmp_path: Path, theirs: Path) -> None:
    before = contents(theirs)
    folder = tmp_path / "model"
    partial_of(folder).mkdir()
    (partial_of(folder) / "sub").symlink_to(theirs)
    (partial_of(folder) / "model.safetensors").hardlink_to(theirs / "model.safetensors")
    (partial_of(folder) / "model-00001-of-00002.safetensors").symlink_to(theirs / "model.safetensors")
    state = {"a": torch.ones(3)}
    write_model(folder, state)
    assert contents(theirs) == before
    assert contents(folder) == {"model.safetensors": save(state, {"format": "pt"})}


def test_a_link_that_takes_the_partial_folders_place_meanwhile_is_refused(
    tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, folder, mkdir = contents(theirs), tmp_path / "model", Path.mkdir

    def overtaken(path: Path, *given: object, **named: object) -> None:
        if path == partial_of(folder):
            path.symlink_to(theirs)
        else:
            mkdir(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    with pytest.raises(AdammsError, match=r"model: .*; nothing was left of"):
        write_model(folder, {"a": torch.ones(3)})
    assert contents(theirs) == before


@pytest.mark.parametrize("leads", ["to a folder", "nowhere"])
def test_a_link_in_the_folders_own_place_is_something_that_exists(
    tmp_path: Path, theirs: Path, leads: str
) -> None:
    before, folder = contents(theirs), tmp_path / "model"
    folder.symlink_to(theirs if leads == "to a folder" else tmp_path / "nothing")
    with pytest.raises(AdammsError, match="exists already"):
        write_model(folder, {"a": torch.ones(3)})
    assert contents(theirs) == before
    assert folder.is_symlink()


def test_a_file_in_the_partial_folders_place_is_named(tmp_path: Path) -> None:
    partial_of(tmp_path / "model").write_text("mine")
    with pytest.raises(AdammsError, match="File exists; nothing was left of"):
        write_model(tmp_path / "model", {"a": torch.ones(3)})
    assert contents(tmp_path) == {".model.partial": b"mine"}


def test_everything_is_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(file: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{file}").readlink().relative_to(tmp_path)))
        fsync(file)

    def renamed(path: Path, new: Path) -> Path:
        done.append("rename")
        return rename(path, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    with whole_folder(tmp_path / "model", 10) as partial:
        (partial / "sub").mkdir()
        (partial / "sub/code.py").write_text("pass")
        write_tensors(States({"a": torch.ones(3), "b": torch.ones(3)}), partial, 12)
    assert sorted(done[:-2]) == [
        ".model.partial",
        *(f".model.partial/model-0000{n}-of-00002.safetensors" for n in (1, 2)),
        *(f".model.partial/{name}" for name in ("model.safetensors.index.json", "sub", "sub/code.py")),
    ]
    assert done[-2:] == ["rename", "."]


# ---------------------------------------------------------------- disk full


def test_too_little_space_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=999))
    folder = tmp_path / "new" / "model"
    for refused in (
        lambda: check_writable(folder, 1000),
        lambda: write_model(folder, {"a": torch.ones(250)}),
    ):
        with pytest.raises(AdammsError, match=r"disk full: .* needs \S+ k?B, \S+ k?B are free"):
            refused()
    assert not list(tmp_path.iterdir())
    write_model(folder, {"a": torch.ones(249)})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.pwrite, []

    def full(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 5:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(AdammsError, match=r"disk full while writing .*model; nothing was left there"):
        write_model(tmp_path / "new" / "model", of_every_dtype())
    assert contents(tmp_path) == {"kept": b"mine"}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_is_told_and_leaves_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for call in ("pwrite", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            with pytest.raises(AdammsError, match=rf"model: {os.strerror(number)}; nothing was left of"):
                write_model(tmp_path / "new" / "model", of_every_dtype())
    assert not list(tmp_path.iterdir())


def test_a_system_that_refuses_to_clean_up_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def overtaken(*_: object) -> None:
        monkeypatch.setattr(os, "rmdir", refuse)
        refuse()

    monkeypatch.setattr(os, "pwrite", overtaken)
    with pytest.raises(AdammsError, match="Read-only file system"):
        write_model(tmp_path / "new" / "model", of_every_dtype())


@pytest.mark.parametrize("place", ["{long}/model", "{long}", "a/{long}/b/model"])
def test_a_name_that_is_too_long_is_told_before_any_work(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place.format(long="n" * 256)
    for refused in (lambda: check_writable(folder, 1), lambda: write_model(folder, {"a": torch.ones(3)})):
        with pytest.raises(AdammsError, match=r"cannot be written \(File name too long\)"):
            refused()
    assert not list(tmp_path.iterdir())


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: write(file, data[:3], offset))
    state = of_every_dtype()
    write_tensors(States(state), tmp_path, GB)
    assert (tmp_path / "model.safetensors").read_bytes() == save(state, {"format": "pt"})


LIMITED = """
import resource, signal, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_writer import write_model
from adamms.errors import AdammsError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_model(Path(sys.argv[1]), {"a": torch.ones(10_000)})
except (AdammsError, OSError) as error:
    print(type(error).__name__, error)
"""


def test_a_full_file_system_leaves_nothing(tmp_path: Path) -> None:
    """A real one: a small tmpfs where mounting is allowed, else a limit on the size of files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        arguments = [sys.executable, "-c", LIMITED, str(disk / "model"), str(Path(__file__).parent)]
        path = os.pathsep.join([str(Path(tiny.__file__).parent), *sys.path])
        done = subprocess.run(
            arguments, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
        )
        assert "Error" in done.stdout
        assert not list(disk.iterdir())
        return
    try:
        (disk / "kept").write_text("mine")
        state = {f"w{i}": torch.ones(5000) for i in range(5)}
        with pytest.raises(AdammsError, match="disk full"):  # before any work
            write_model(disk / "model", state)
        with (
            pytest.raises(AdammsError, match="disk full while writing"),
            whole_folder(disk / "model", 1) as p,
        ):
            write_tensors(States(state, 1000), p, 20_000, 2)
        assert contents(disk) == {"kept": b"mine"}
        assert [path.name for path in disk.iterdir()] == ["kept"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_parent_that_is_a_file_or_not_writable_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdammsError, match="file is not a folder that you may write to"):
        check_writable(tmp_path / "file" / "model", 1)
    with pytest.raises(AdammsError, match="not a folder that you may write to"):
        write_model(tmp_path / "file" / "model", of_every_dtype())
    assert contents(tmp_path) == {"file": b"x"}
