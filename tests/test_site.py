"""docs/ builds as a site: no broken link, no page that the menu lacks, nothing loaded from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import CONF, ROOT

LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?([^"'\s>]+)|<link\b([^>]*)>""")


def addresses(page: str) -> list[str]:
    """What a page loads as it opens."""
    found = []
    for source, link in LOADED.findall(page):
        if link and not re.search(r"rel=[\"']?(?:canonical|next|prev)", link):
            found += re.findall(r"href=[\"']?([^\"'\s>]+)", link)
        found += [source] if source else []
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {page.parent.name: page.read_text() for page in site.rglob("index.html")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} < set(pages)
    for name, text in pages.items():
        assert addresses(text), name
        assert not [found for found in addresses(text) if re.match(r"\w+:|//", found)], name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_the_reference_has_every_option_and_shows_docstrings_as_they_are_meant(site: Path) -> None:
    options = (site / "reference/conf/index.html").read_text()
    for file in CONF.rglob("*.yaml"):
        if file.parent != CONF:
            assert f"<code>{file.parent.relative_to(CONF)}={file.stem}</code>" in options, file
    python = (site / "reference/python/index.html").read_text()
    assert {"search", "merge"} <= set(re.findall(r"adamms\.app\.functions\.(\w+)", python))
    assert "one winner per task" in python
    assert 'class="gp"' in python  # the prompt of an example
    assert "<blockquote>" not in python


def test_diagrams_are_lists_of_their_arrows(site: Path) -> None:
    text = (site / "architecture/index.html").read_text()
    assert "flowchart" not in text
    assert "<li>mapping → architectures; checkpoint; system</li>" in text
    assert "<li>engine: one live model → store: answers by content; <em>answers</em> → search:" in text
