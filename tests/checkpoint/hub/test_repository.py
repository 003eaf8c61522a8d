"""What is downloaded of a hub's repository: by the real client, from a hub on this machine."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import tiny
import torch
from fake_hub import FakeHub
from huggingface_hub import constants, snapshot_download

from adamms.checkpoint.hub.location import cached, locate, not_here
from adamms.checkpoint.hub.remote import RemoteCheckpoint, open_headers
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.side_files import links_out, side_files
from adamms.errors import AdammsError

NAME = "owner/name"
STATE = {"a": torch.ones(300, 200), "b": torch.zeros(3)}
SIDE = [
    "README.md",
    "LICENSE.pdf",
    "USE_POLICY.md",
    "config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "modeling_x.py",
    "more/code.py",
]
USELESS = [
    "consolidated.safetensors",
    "consolidated.00.pth",
    "model.fp16.safetensors",
    "original/model.safetensors",
    "original/params.json",
    "onnx/model.onnx",
    "name.gguf",
    "training_args.bin",
    "report.pdf",
    ".gitattributes",
    "figures/a.png",
]


def publish(hub: FakeHub, *more: str, shards: int = 1, torch_zip: bool = False) -> Path:
    folder = hub.root / NAME
    tiny.write_model(folder, STATE, shards=shards, torch_zip=torch_zip)
    for name in (*SIDE, *more):
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}")
    return folder


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


SHARDS = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
CASES: dict[str, tuple[int, bool, tuple[str, ...], set[str]]] = {
    "one file": (1, False, ("pytorch_model.bin", *USELESS), {"model.safetensors"}),
    # A stale single file, or shards of another saving, are not the model: the index is.
    "shards": (
        *(2, False, ("model.safetensors", "model-00001-of-00003.safetensors", *USELESS)),
        SHARDS | {"model.safetensors.index.json"},
    ),
    "torch": (1, True, tuple(name for name in USELESS if "fp16" not in name), {"pytorch_model.bin"}),
}


@pytest.mark.parametrize("case", CASES)
def test_only_what_is_needed_is_downloaded(hub: FakeHub, case: str) -> None:
    shards, torch_zip, more, weights = CASES[case]
    publish(hub, *more, shards=shards, torch_zip=torch_zip)
    if case == "torch":
        (hub.root / NAME / "consolidated.safetensors").unlink()
    folder = locate(NAME)
    assert names(folder) == set(SIDE) | weights
    assert open_checkpoint(folder).tensors.keys() == STATE.keys()
    assert cached(NAME) == folder
    before = dict(hub.sent)
    assert locate(NAME) == folder
    assert dict(hub.sent) == before


def test_a_tokenizer_comes_without_the_weights_beside_it(hub: FakeHub) -> None:
    publish(hub)
    assert names(locate(NAME, weights=False)) == set(SIDE)
    assert cached(NAME) is None


def test_a_vision_tower_in_its_folder_comes_along(hub: FakeHub) -> None:
    folder = publish(hub, "vit/clip/config.json", "vit/clip/pytorch_model.bin")
    (folder / "config.json").write_text('{"mm_vision_tower": "./vit/clip"}')
    found = names(locate(NAME))
    assert found == {*SIDE, "model.safetensors", "vit/clip/config.json", "vit/clip/pytorch_model.bin"}


def test_an_adapter_comes_whole(hub: FakeHub) -> None:
    own = ("adapter_config.json", "adapter_model.safetensors", "non_lora_trainables.bin")
    folder = publish(hub, *own, "optimizer.pt")
    (folder / "model.safetensors").unlink()
    assert names(locate(NAME)) == set(SIDE) | set(own)
    repository = not_here(NAME, "other")
    assert repository is not None
    assert open_headers(repository) is None


OTHERS = {
    "quantised": (
        ("a-Q4_K_M.gguf", "b.onnx"),
        "no weights as safetensors or torch files; its largest files: a-Q4",
    ),
    "in folders": (("llm/model.safetensors",), "no weights .* its largest files: llm/model.safetensors"),
    "without index": (
        ("a.safetensors", "b.safetensors"),
        "several files of weights and no index; .* a.safet",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_repository_without_weights_that_are_read_names_what_it_has(hub: FakeHub, case: str) -> None:
    files, message = OTHERS[case]
    folder = publish(hub, *files)
    (folder / "model.safetensors").unlink()
    (folder / files[0]).write_bytes(bytes(10_000))
    with pytest.raises(AdammsError, match=f"owner/name: {message}"):
        locate(NAME)
    assert not hub.weights_sent(NAME)


@pytest.mark.parametrize("shards", [1, 2])
def test_headers_are_read_by_ranges(hub: FakeHub, shards: int) -> None:
    folder = publish(hub, shards=shards)
    repository = not_here(NAME)
    assert repository is not None
    remote = open_headers(repository)
    assert remote is not None
    local = open_checkpoint(folder)
    assert names(remote.folder) - {"model.safetensors.index.json"} == set(SIDE)
    for name, entry in local.tensors.items():
        found = remote.tensors[name]
        assert (found.shape, found.dtype, found.offset) == (entry.shape, entry.dtype, entry.offset)
        assert found.file == remote.folder / entry.file.name
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert sum(hub.weights_sent(NAME).values()) < size / 2
    with pytest.raises(AdammsError, match="owner/name: only the headers of its weights were read; download"):
        remote.read("a")


def test_a_long_header_takes_two_requests(hub: FakeHub) -> None:
    state = {f"model.layers.{index}.a_name_that_is_long.weight": torch.zeros(1) for index in range(1500)}
    tiny.write_model(hub.root / NAME, state)
    repository = not_here(NAME)
    assert repository is not None
    remote = open_headers(repository)
    assert isinstance(remote, RemoteCheckpoint)
    assert remote.tensors.keys() == state.keys()


def test_a_hub_that_gives_no_ranges_says_so(hub: FakeHub) -> None:
    publish(hub)
    hub.ranges = False
    repository = not_here(NAME)
    assert repository is not None
    with pytest.raises(
        AdammsError, match=r"does not give parts of files, so the weights must come: hf download"
    ):
        open_headers(repository)


def test_a_disk_that_is_too_small_is_told_before(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(hub)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100_000))
    with pytest.raises(
        AdammsError, match=r"owner/name: \S+ k?B are to be downloaded, and .*cached has \S+ k?B"
    ):
        locate(NAME)
    assert not hub.weights_sent(NAME)


@pytest.mark.parametrize("how", ["offline", "no answer"])
def test_a_cache_is_enough_and_a_partial_one_names_what_it_lacks(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    publish(hub, shards=2)
    folder = locate(NAME)
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert locate(NAME) == locate(NAME, weights=False) == folder
    assert not_here(NAME) is None
    lost = "model-00002-of-00002.safetensors"
    (folder / lost).unlink()
    with pytest.raises(
        AdammsError, match=rf"owner/name: .* its cache lacks {lost} of it .*hf download owner/name"
    ):
        locate(NAME)
    assert cached(NAME) is None
    with pytest.raises(AdammsError, match="other/name: no such local folder, and the hub did not give it"):
        locate("other/name")


def test_what_is_not_given_to_everybody_says_how_it_is_got(hub: FakeHub) -> None:
    with pytest.raises(AdammsError, match=r"RepositoryNotFoundError: .*; if it is private, log in: hf auth"):
        locate("other/name")
    hub.gated = True
    with pytest.raises(
        AdammsError, match=rf"GatedRepoError: .*; accept its terms at {hub.url}/{NAME} and log"
    ):
        locate(NAME)


def test_a_local_folder_of_the_hub_is_a_folder(hub: FakeHub, tmp_path: Path) -> None:
    publish(hub)
    folder = tmp_path / "mine"
    snapshot_download(NAME, local_dir=folder)
    assert locate(str(folder)) == folder
    assert open_checkpoint(folder).tensors.keys() == STATE.keys()
    assert not links_out(folder)


def test_an_entry_of_the_cache_may_be_moved_and_linked(hub: FakeHub, tmp_path: Path) -> None:
    publish(hub)
    folder = locate(NAME)
    entry = folder.parent.parent
    moved = entry.rename(tmp_path / "models of mine") / "snapshots" / folder.name
    (tmp_path / "short").symlink_to(moved)
    for path in (moved, tmp_path / "short"):
        found = locate(str(path))
        assert {str(file) for file in side_files(found)} == set(SIDE) - {"README.md"}
        assert not links_out(found)
