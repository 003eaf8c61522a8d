"""Tables of plain cells as markdown, and text that markdown leaves as it is.

Knows no run and no file.
"""

import re

from adamms.report import words
from adamms.report.tables import Cell, Table


def table_text(table: Table | None, titled: bool = True) -> str:
    """The table with its title above and its note below; '' for None."""
    if table is None:
        return ""
    ruler = [":---" if index < table.texts else "---:" for index in range(len(table.columns))]
    lines = [list(map(plain, table.columns)), ruler]
    marks = any(cell.chosen for cells in table.rows for cell in cells)  # then bold has another meaning
    lines += [
        [_cell(cell, row in table.strong and (index == 0 or not marks)) for index, cell in enumerate(cells)]
        for row, cells in enumerate(table.rows)
    ]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    title = f"**{plain(table.title)}**\n\n" if titled else ""
    return title + text + (f"\n\n{plain(table.note)}" if table.note else "")


def plain(text: str) -> str:
    """With markdown's own characters escaped."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", words.printable(text))


def _cell(cell: Cell, strong: bool) -> str:
    text = plain(cell.text)
    if text and (cell.chosen or strong):
        text = f"**{text}**"
    return text + (" ▲" if cell.best else "")
