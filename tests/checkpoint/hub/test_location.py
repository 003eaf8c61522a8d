"""Local paths, and hub ids through a hub cache made by hand; nothing here uses the network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

from adamms.checkpoint.hub.location import locate
from adamms.errors import AdammsError

COMMIT, OLD_COMMIT = "a" * 40, "b" * 40

LOCATE = """
import sys
from adamms.checkpoint.hub.location import locate
from adamms.errors import AdammsError
for request in sys.argv[1:]:
    repository, _, revision = request.partition("@")
    try:
        print(locate(repository, revision or None))
    except AdammsError as error:
        print("AdammsError:", error)
"""


def test_a_local_folder_and_a_file_are_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.write_model(tmp_path / "owner" / "name", {"a": torch.ones(1)})
    assert locate(str(folder)) == folder
    assert locate(str(folder / "model.safetensors")) == folder / "model.safetensors"
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name") == folder  # although it looks like a hub id
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/owner/name") == folder


def test_a_revision_belongs_to_hub_ids_only(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match="revision='main' belongs to hub ids only"):
        locate(str(tmp_path), "main")


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "llava_onevision").mkdir()
    (tmp_path / "tern").mkdir()  # whose path resembles it, too
    with pytest.raises(AdammsError, match=r"no such folder or file\. Nearest: llava_onevision\."):
        locate(str(tmp_path / "llava_onvision"))


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `locate` says of the requests below, offline, with one repository in the cache."""
    cache = tmp_path_factory.mktemp("hub")
    repository = cache / "models--lmms-lab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(OLD_COMMIT)
    for commit, value in ((COMMIT, 1.0), (OLD_COMMIT, 0.0)):
        blobs = tiny.write_model(repository / "blobs" / commit, {"a": torch.tensor([value])})
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in blobs.iterdir():
            (snapshot / file.name).symlink_to(file)
    requests = [
        *("lmms-lab/tiny", "lmms-lab/tiny@v1", f"lmms-lab/tiny@{OLD_COMMIT}"),
        *("lmms-lab/tiny@v9", "lmms-lab/absent", "bad--name/x.git"),
    ]
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOCATE, *requests],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(requests)  # every message is one line
    return lines


def test_a_hub_id_resolves_to_its_snapshot(located: list[str]) -> None:
    assert [Path(line).name for line in located[:3]] == [COMMIT, OLD_COMMIT, OLD_COMMIT]
    assert all((Path(line) / "model.safetensors").is_file() for line in located[:3])


@pytest.mark.parametrize(
    ("line", "named"),
    [(3, "lmms-lab/tiny at revision v9"), (4, "lmms-lab/absent"), (5, "bad--name/x.git")],
)
def test_what_the_hub_does_not_give_is_named(located: list[str], line: int, named: str) -> None:
    assert located[line].startswith(
        f"AdammsError: {named}: no such local folder, and the hub did not give it ("
    )
