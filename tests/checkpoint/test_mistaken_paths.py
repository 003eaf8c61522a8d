"""Paths that hold no model say what they are and what to give instead; what cannot be read says why."""

import errno
import mmap
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file

from adamms.checkpoint.hub.location import locate
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.tensor_file import read_header
from adamms.errors import AdammsError

STATE = {"a": torch.ones(2), "b": torch.zeros(3)}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4976698672\n"


def told(path: Path) -> str:
    with pytest.raises(AdammsError) as caught:
        open_checkpoint(locate(str(path)))
    return str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer.model"])
def test_a_git_lfs_pointer_says_so(name: str, tmp_path: Path) -> None:
    tiny.write_model(tmp_path, STATE)
    (tmp_path / name).write_text(POINTER)
    message = (
        f"{tmp_path / name}: a Git LFS pointer, not the file itself; fetch it: git -C {tmp_path} lfs pull"
    )
    assert told(tmp_path) == message


def test_a_pointer_in_the_place_of_a_torch_file_or_a_lone_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_text(POINTER)
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        assert "pytorch_model.bin: a Git LFS pointer" in told(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("x-Q4_K_M.gguf", "GGUF, which is not read; give"), ("model_index.json", "a pipeline of diffusers")],
)
def test_another_programs_model_says_so(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    assert told(tmp_path).startswith(f"{tmp_path}: {said}")


def test_a_lone_gguf_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert told(tmp_path / "x.gguf").startswith(f"{tmp_path}/x.gguf: GGUF, which is not read")


def cached(hub: Path) -> Path:
    """A model in a hub cache; returns the snapshot, whose files are links to blobs without suffixes."""
    place = hub / "models--owner--name"
    snapshot = place / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    tiny.write_model(place / "files", STATE)
    (place / "files").rename(place / "blobs")
    for number, file in enumerate(sorted((place / "blobs").iterdir())):
        blob = file.rename(file.with_name(str(number) * 64))
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


@pytest.mark.parametrize("below", ["", "snapshots", "blobs"])
def test_a_models_place_in_the_hub_cache_says_so(below: str, tmp_path: Path) -> None:
    snapshot = cached(tmp_path / "hub")
    said = told(tmp_path / "hub/models--owner--name" / below)
    assert f"Give its hub id, owner/name, or {snapshot}" in said


@pytest.mark.parametrize("folder", ["hub", "."])
def test_the_hub_cache_itself_says_so(folder: str, tmp_path: Path) -> None:
    cached(tmp_path / "hub")
    assert "the hub's cache, not a model's folder. Give a hub id, such as owner/name" in told(
        tmp_path / folder
    )


def test_a_snapshot_and_a_file_in_it_are_read_and_a_blob_says_what_it_is(tmp_path: Path) -> None:
    snapshot = cached(tmp_path / "hub")
    for path in (snapshot, snapshot / "model.safetensors"):
        opened = open_checkpoint(locate(str(path)))
        assert opened.tensors.keys() == STATE.keys()
        assert opened.config["architectures"]
    assert "Give its hub id, owner/name" in told((snapshot / "model.safetensors").resolve())


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_link_to_nothing_is_named(name: str, tmp_path: Path) -> None:
    snapshot = cached(tmp_path)
    target = (snapshot / name).readlink()
    (snapshot / name).resolve().unlink()
    assert f"{snapshot / name}: a link to {target}, which is not there" in told(snapshot)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert f"link: a link to {tmp_path / 'nowhere'}, which is not there" in told(tmp_path / "link")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("zero_to_fp32.py", "global_step9/a_optim_states.pt", "rng_state_0.pth"), "zero_to_fp32.py {} OUT"),
        (("pytorch_model_fsdp_0/__0_0.distcp", "optimizer.bin"), "merge-weights {}/pytorch_model_fsdp_0 OUT"),
    ],
)
def test_shards_of_a_training_say_how_to_join_them(
    files: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert message.format(tmp_path) in told(tmp_path)


def test_files_that_are_not_all_of_a_model(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "model", STATE, shards=2)
    for name in ("config.json", "model.safetensors.index.json"):
        assert f"{name}: holds no weights; expected a model's folder, such as {folder}" in told(folder / name)
    shard = folder / "model-00001-of-00002.safetensors"
    assert told(shard) == f"{shard}: one shard of a model; give its folder: {folder}"


def test_a_folder_above_the_model_names_it(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "checkpoint-200", STATE)
    assert told(tmp_path) == f"{tmp_path}: no weights, but there are some in {folder}"


def test_shards_that_are_missing_are_counted_and_named(tmp_path: Path) -> None:
    tiny.write_model(tmp_path, STATE, shards=2)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.unlink()
    assert f"names 2 shards, and {tmp_path} lacks '{shard.name}'; download the model again" in told(tmp_path)


def test_a_tensor_in_two_shards_that_the_index_leaves_out_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path, STATE, shards=2)
    for number in (1, 2):
        file = folder / f"model-0000{number}-of-00002.safetensors"
        name = next(iter(read_header(file)))
        save_file({name: STATE[name], "c": torch.full((2,), float(number))}, file)
    assert "leaves out 'c', which more than one shard holds" in told(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_an_error_of_the_disk_names_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_model(tmp_path, STATE)
    whole = Path.open

    def broken(path: Path, *arguments: object, **named: object) -> object:
        if path.name == name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return whole(path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", broken)
    assert told(tmp_path) == f"{tmp_path / name}: cannot be read: Input/output error"


def test_a_file_that_is_cut_after_its_header_was_read(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.write_model(tmp_path, STATE))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(AdammsError, match=r"model\.safetensors: is shorter than it was when its header"):
        checkpoint.read("a")


def test_an_error_of_the_disk_while_values_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = open_checkpoint(tiny.write_model(tmp_path, STATE))

    def broken(*arguments: object, **named: object) -> object:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mmap, "mmap", broken)
    with pytest.raises(AdammsError, match=r"model\.safetensors: cannot be read: Input/output error"):
        checkpoint.read("a")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}']
)
def test_names_that_readers_take_differently_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode())
    with pytest.raises(AdammsError, match=r"it has a name twice|is no valid text"):
        read_header(tmp_path / "a.safetensors")
