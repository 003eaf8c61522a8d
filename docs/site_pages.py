"""A hook of MkDocs: the pages of the site that are not in docs/, made from what is true elsewhere.

README.md is its start, sweeps/README.md a page; the reference is made from conf and from docstrings.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
# How links to files that move are written -> where they lead in the site.
MOVED = {r"\]\((?:\.\./)?docs/": "](", r"\]\((?:\.\./)?README\.md": "](index.md"}
MOVED |= {r"\]\((?:\.\./)?sweeps/README\.md": "](sweeps.md", r"\[([^]]+)\]\((?:LICENSE|table1\.csv)\)": r"\1"}


class Doctests(griffe.Extension):
    """Shows the examples of docstrings as code."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(
                r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.MULTILINE
            )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in _pages(config.extra["modules"]).items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    for written, meant in MOVED.items():
        markdown = re.sub(written, meant, markdown)
    return re.sub(r"^```mermaid\n(.*?)^```", _arrows, markdown, flags=re.MULTILINE | re.DOTALL)


def _arrows(diagram: re.Match[str]) -> str:
    """A diagram of mermaid's as the list of its arrows: its drawer would be loaded from elsewhere."""
    words = dict(re.findall(r'(\w+)\["([^"]+)"\]', diagram[1]))
    plain = re.sub(r'\["[^"]+"\]', "", diagram[1])
    ends: dict[str, list[str]] = {}
    for starts, label, end in re.findall(r"^    (.+?) <?-->(?:\|(.+?)\|)? (\w+)$", plain, re.MULTILINE):
        for start in starts.split(" & "):
            what = f"*{label}* → " if label else ""
            ends.setdefault(words.get(start, start), []).append(what + words.get(end, end))
    return "\n".join(f"- {start} → {'; '.join(found)}" for start, found in ends.items()) + "\n"


def _pages(modules: list[str]) -> dict[str, str]:
    """Name -> content."""
    return {
        "index.md": (ROOT / "README.md").read_text(),
        "sweeps.md": (ROOT / "sweeps/README.md").read_text(),
        "reference/conf.md": "# Configuration\n\nEvery option of every group, as it is written in `conf`.\n\n"
        + "\n\n".join(_groups()),
        "reference/python.md": "# Python API\n\n" + "\n\n".join(f"::: {module}" for module in modules),
    }


def _groups() -> Iterator[str]:
    """A section for each group: its options with their comments."""
    folders = sorted({file.parent for file in CONF.rglob("*.yaml")})
    for folder in folders:
        group = folder.relative_to(CONF).as_posix()
        yield f"## {'config.yaml' if group == '.' else group}"
        for file in sorted(folder.glob("*.yaml")):
            name = file.stem if group == "." else f"{group}={file.stem}"
            yield f"### `{name}`\n\n```yaml\n{file.read_text()}```"
