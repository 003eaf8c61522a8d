"""Bytes end up where they belong, however they are cut, whether or not the page cache is passed by."""

import errno
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.system import output_file
from adamms.system.output_file import PAGE, OutputFile, Span, new_buffer

LENGTHS = st.sampled_from([0, 1, 7, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 9 * PAGE + 5])


def fill(path: Path, spans: list[list[int]]) -> bytes:
    """Write spans, each cut in pieces of these lengths, back to back, the last one first."""
    lengths = [sum(pieces) for pieces in spans]
    content = bytes(i * 31 % 251 for i in range(sum(lengths)))
    file = OutputFile(path, len(content))
    end, buffer = len(content), new_buffer()
    for pieces in reversed(spans):
        start = position = end - sum(pieces)
        span = Span(file, start, buffer)
        for length in pieces:
            span.append(memoryview(content)[position : position + length])
            position += length
        span.close()
        end = start
    file.close()
    return content


@given(st.lists(st.lists(LENGTHS, max_size=4), max_size=5), st.sampled_from(["direct", "cached", "memory"]))
def test_any_spans_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, spans: list[list[int]], way: str
) -> None:
    path = tmp_path_factory.mktemp("spans") / "file"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_file, "BUFFER_PAGES", 2)  # so that spans need many buffers
        patch.setattr(output_file, "_in_memory", lambda _: way == "memory")
        if way == "cached":
            patch.delattr(os, "O_DIRECT")
        content = fill(path, spans)
    assert path.read_bytes() == content


def test_the_whole_file_is_allocated_once_where_pages_go_straight_to_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    library = SimpleNamespace(fallocate=lambda _, mode, first, size: sizes.append(size.value))
    monkeypatch.setattr(output_file, "LIBRARY", library)
    file = OutputFile(tmp_path / "file", 40 * PAGE)
    assert sizes == ([40 * PAGE] if file.descriptors[1] >= 0 else [])
    file.close()


@pytest.mark.parametrize("lacks", ["the function", "the file system"])
def test_where_it_cannot_every_write_allocates_its_own(
    lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace() if lacks == "the function" else SimpleNamespace(fallocate=lambda *_: -1)
    monkeypatch.setattr(output_file, "LIBRARY", library)
    content = fill(tmp_path / "file", [[5, 3 * PAGE], [2 * PAGE]])
    assert (tmp_path / "file").read_bytes() == content


def test_a_refused_page_is_written_the_usual_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = os.pwrite, []

    def pwrite(descriptor: int, raw: memoryview, offset: int) -> int:
        if len(raw) >= PAGE and not refused:
            refused.append(offset)
            raise OSError(errno.EINVAL, "blocks larger than pages")
        return real(descriptor, raw, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    content = fill(tmp_path / "file", [[5, 3 * PAGE], [2 * PAGE]])
    assert (tmp_path / "file").read_bytes() == content
    assert refused


def test_a_full_disk_is_not_taken_for_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    file = OutputFile(tmp_path / "file", 4 * PAGE)
    monkeypatch.setattr(os, "pwrite", pwrite)
    span = Span(file, 0, new_buffer())
    span.append(memoryview(bytes(2 * PAGE)))
    with pytest.raises(OSError, match="full"):
        span.close()
    file.close()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs at /dev/shm")
def test_what_is_memory_is_told_from_a_disk() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        assert output_file._in_memory(Path(file.name))
    assert not output_file._in_memory(Path("/proc/self/status"))


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileExistsError):
        OutputFile(tmp_path / "file", 10)
