"""Templates are compiled once, and anew when their source has changed."""

import sys
from pathlib import Path

import pytest
from jinja2 import Environment

from adamms.report.page.render import templates


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the templates that are compiled from here on."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    found, compile_ = [], Environment.compile

    def noted(environment: Environment, source: str, name: str, *rest: object) -> object:
        found.append(name)
        return compile_(environment, source, name, *rest)

    monkeypatch.setattr(Environment, "compile", noted)
    return found


def rendered(folder: Path) -> str:
    return templates(folder).get_template("page.html").render(name="<x>")


def test_a_template_is_compiled_once_until_it_changes(compiled: list[str], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    for source, text in (("{{ name }}", "&lt;x&gt;"), ("{{ name }}!", "&lt;x&gt;!")):
        file.write_text(source)
        assert [rendered(tmp_path) for _ in range(2)] == [text, text]
    assert compiled == ["page.html", "page.html"]


@pytest.mark.parametrize("content", [b"", b"no bytecode", b"j2" + b"\x80\x02K\x05." * 9])
def test_a_damaged_file_is_made_anew(content: bytes, compiled: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ name }}")
    rendered(tmp_path)
    (kept,) = (tmp_path / "__pycache__").iterdir()
    whole = kept.read_bytes()
    for damaged in (content, whole[:-3], whole[:40]):
        kept.write_bytes(damaged)
        assert [rendered(tmp_path) for _ in range(2)] == ["&lt;x&gt;", "&lt;x&gt;"]
    assert len(compiled) == 4


def test_where_nothing_can_be_written_it_is_compiled(compiled: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ name }}")
    (tmp_path / "__pycache__").touch()
    assert [rendered(tmp_path) for _ in range(2)] == ["&lt;x&gt;", "&lt;x&gt;"]
    assert compiled == ["page.html", "page.html"]
