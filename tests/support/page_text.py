"""What a page of the report says: its text without markup, and the cells of its tables."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """A page that was read.

    Attributes:
        text: all that can be read in it, on one line.
        tables: the label of each table -> its rows, the headings first.
        code: the blocks that can be copied.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.code: list[str] = []
        self._words: list[str] = []
        self._open: list[str] = []
        self._table: list[list[str]] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(dict(attrs).get("aria-label") or "", [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")
        elif tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if {"script", "style", "title"} & set(self._open):
            return
        self._words.append(data)
        if "code" in self._open:
            self.code[-1] += data
        if ({"td", "th"} & set(self._open)) and "span" not in self._open:
            self._table[-1][-1] += data.strip()
