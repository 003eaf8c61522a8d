"""Fits tables into a number of columns: folds headings, then splits into blocks of columns.

Pure text; knows no terminal.
"""

import re
from dataclasses import replace

from adamms.report import words
from adamms.report.tables import Cell, Table

GAP = 1  # between columns
WIDEST_HEADING, NARROWEST_HEADING, HEADING_LINES = 12, 5, 3
LABEL_WIDTH = 18  # a longer label is folded before a table is split


def mark(cell: Cell) -> str:
    """`*` chosen, `^` best by labels, `=` both."""
    if cell.chosen:
        return "=" if cell.best else "*"
    return "^" if cell.best else ""


def marked_columns(table: Table) -> set[int]:
    """Columns in which some cell carries a mark: all their cells leave room for one."""
    return {i for row in table.rows for i, cell in enumerate(row) if mark(cell)}


def fold(heading: str, width: int) -> str:
    """Break a heading into lines of at most `width`, at separators if possible; at most three lines."""
    lines = [""]
    for part in re.findall(r"[^\s_\-/]*[\s_\-/]?", words.printable(heading)):
        if len(lines[-1]) + len(part.rstrip()) <= width:
            lines[-1] += part
            continue
        if lines[-1]:
            lines.append("")
        while len(part.rstrip()) > width:
            lines[-1] = part[: width - 1] + "-"
            part = part[width - 1 :]
            lines.append("")
        lines[-1] = part
    lines = [line.rstrip() for line in lines if line.strip()]
    if len(lines) > HEADING_LINES:
        lines = [*lines[: HEADING_LINES - 1], lines[HEADING_LINES - 1][: width - 1].rstrip("-") + "~"]
    return "\n".join(lines)


def headings(table: Table, width: int) -> list[str]:
    """The table's headings, folded no more than it takes to fit into `width` columns."""
    limit = _heading_width(table, width)
    return [fold(column, limit) for column in table.columns]


def split(table: Table, width: int) -> list[Table]:
    """The table in as many blocks as it takes; each repeats the text columns."""
    widths = _widths(table, _heading_width(table, width))
    texts = range(table.texts)
    start = sum(widths[: table.texts]) + GAP * (table.texts - 1)
    blocks: list[list[int]] = [[]]
    used = start
    for index in range(table.texts, len(table.columns)):
        if used + GAP + widths[index] > width and blocks[-1]:
            blocks.append([])
            used = start
        blocks[-1].append(index)
        used += GAP + widths[index]
    return [_columns(table, [*texts, *block]) for block in blocks]


def _heading_width(table: Table, width: int) -> int:
    """The widest headings with which the whole table fits, or if none does the widest."""
    for limit in range(WIDEST_HEADING, NARROWEST_HEADING - 1, -1):
        if sum(_widths(table, limit)) + GAP * (len(table.columns) - 1) <= width:
            return limit
    return WIDEST_HEADING


def _widths(table: Table, heading_width: int) -> list[int]:
    marked = marked_columns(table)
    widths = []
    for index, column in enumerate(table.columns):
        cells = max((len(row[index].text) for row in table.rows), default=0) + (index in marked)
        heading = max(len(line) for line in fold(column, heading_width).split("\n"))
        widths.append(min(max(cells, heading), LABEL_WIDTH) if index < table.texts else max(cells, heading))
    return widths


def _columns(table: Table, indices: list[int]) -> Table:
    return replace(
        table,
        columns=tuple(table.columns[i] for i in indices),
        rows=tuple(tuple(row[i] for i in indices) for row in table.rows),
    )
