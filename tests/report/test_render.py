"""Templates are compiled once: later processes read what Python would read of a module."""

import sys
from pathlib import Path

import pytest
from jinja2 import Environment

from adamms.report.page import render
from adamms.report.page.render import templates


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a template that says 1, where Python keeps compiled files in `kept`."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(render, "COMPILED", tmp_path / "kept")
    (tmp_path / "page.html").write_text("1")
    return tmp_path


def text(folder: Path) -> str:
    return templates(folder).get_template("page.html").render()


def test_a_template_is_compiled_once_and_again_when_it_or_jinja_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert text(folder) == "1"
    with monkeypatch.context() as patched:
        patched.delattr(Environment, "compile")
        assert text(folder) == "1"
        patched.setattr(render, "version", lambda _: "another")
        with pytest.raises(AttributeError):
            text(folder)
    (folder / "page.html").write_text("2")
    assert text(folder) == "2"


def test_where_nothing_can_be_kept_a_template_is_compiled_every_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "kept").write_text("no folder")  # nobody can write into it, root included
    assert text(folder) == "1"
    monkeypatch.setattr(render, "COMPILED", folder / "other")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert text(folder) == "1"
    assert not (folder / "other").exists()


def test_a_damaged_one_is_compiled_again(folder: Path) -> None:
    assert text(folder) == "1"
    (kept,) = (folder / "kept").iterdir()
    for length in (0, 30, 60, kept.stat().st_size - 1):
        whole = kept.read_bytes()
        kept.write_bytes(whole[:length])
        assert text(folder) == "1"
        assert kept.read_bytes() == whole
