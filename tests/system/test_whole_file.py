"""Small files: whole or absent, never written through a link, errors with names."""

import errno
import os
from pathlib import Path

import pytest

from adamms.errors import AdammsError
from adamms.system.whole_file import write_whole


def test_it_is_written_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "new/deep/a.json"
    assert write_whole(file, "ü\ud800") == file
    assert file.read_bytes() == "ü?".encode()
    assert write_whole(file, b"\xff").read_bytes() == b"\xff"
    assert [path.name for path in file.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_another_folders_file_is_not_written_through_a_link(link, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    link(theirs, tmp_path / "ours")
    write_whole(tmp_path / "ours", "new")
    assert theirs.read_text() == "precious"
    assert (tmp_path / "ours").read_text() == "new"
    assert not (tmp_path / "ours").is_symlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_an_error_names_the_file_and_keeps_what_was_there(
    number: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    file = tmp_path / "a.json"
    file.write_text("before")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(AdammsError, match=rf"a\.json: cannot be written \({os.strerror(number)}\)"):
        write_whole(file, "after")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_text() == "before"


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    assert write_whole(tmp_path / ("n" * 255), "x").exists()
    with pytest.raises(AdammsError, match=r"nnn: cannot be written \(File name too long\)"):
        write_whole(tmp_path / ("n" * 256), "x")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file)))
    monkeypatch.setattr(Path, "replace", lambda *names: (done.append("replace"), replace(*names)))
    write_whole(tmp_path / "a", "x")
    assert done == ["fsync", "replace", "fsync"]


def test_a_file_system_that_cannot_sync_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse_folders(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(file)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    assert write_whole(tmp_path / "a", "x").read_text() == "x"
