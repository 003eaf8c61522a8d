"""A table as plain cells: what is shown, and what is marked.

The console, the page and notebooks draw it, each in its way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from adamms.evaluate.estimate import Estimate
from adamms.report import words


@dataclass(frozen=True)
class Cell:
    """One number or word; `chosen` by the search without labels, `best` by labels.

    Args:
        estimate: the number with its standard error, for which a narrow console has no room.
        ends: of its 95 % interval, where it has no standard error; the page has room for it.
    """

    text: str
    chosen: bool = False
    best: bool = False
    estimate: Estimate | None = None
    ends: tuple[float, float] | None = None

    @classmethod
    def of(cls, found: Estimate | None, chosen: bool = False, best: bool = False) -> "Cell":
        """A score with its standard error."""
        return cls("-" if found is None else words.score(found.value), chosen, best, found)

    @property
    def error(self) -> str:
        """The standard error; "" if it has none."""
        return words.error(self.estimate)

    @property
    def interval(self) -> str:
        """'31 to 55', with as many digits as the number has; "" if it is not known."""
        digits = len(self.text.partition(".")[2])
        return "" if self.ends is None else " to ".join(f"{end:.{digits}f}" for end in self.ends)


ERROR = "± one standard error"
Row = TypeVar("Row")
# A heading, and what stands below it in the row of something.
Column = tuple[str, Callable[[Row], str | Cell]]


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Args:
        title: above it.
        columns: the headings.
        rows: as many cells as headings each.
        texts: how many leading columns are words, aligned left; the others are numbers.
        strong: indices of rows to emphasise.
        note: below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    strong: frozenset[int] = frozenset()
    note: str = ""

    @classmethod
    def of(
        cls,
        title: str,
        items: Iterable[Row],
        columns: Sequence[Column[Row]],
        texts: int = 1,
        strong: Iterable[int] = (),
        note: str = "",
    ) -> "Table":
        """The table with a row for each item.

        >>> Table.of("Squares", [2, 3], [("n", str), ("square", lambda n: str(n * n))]).rows[1][1].text
        '9'
        """
        found = [[read(item) for _, read in columns] for item in items]
        rows = tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in found)
        return cls(title, tuple(name for name, _ in columns), rows, texts, frozenset(strong), note)


def rows_of(rows: Iterable[Sequence[str]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of plain texts as cells without marks."""
    return tuple(tuple(map(Cell, row)) for row in rows)
