"""What a run says on standard output: stages with progress, the plan, the results, the last line.

Plain text off a terminal; in a notebook lines only, since what a mode returns shows its own tables there.
Tables fit the width, 80 columns by default. `tables` and `findings` decide what is said.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from rich import box
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text
from rich.tree import Tree

from adamms.mapping.plan import Plan
from adamms.report import findings, plan_tables, tables, words
from adamms.report.plan_tree import Branch, plan_tree
from adamms.report.progress import Meter, bar, heartbeat, notebook_bar
from adamms.report.result import Result, StageTiming
from adamms.report.run_log import RunLog
from adamms.report.table import Cell, Table
from adamms.report.trackers.tracker import NoRecord, Record

if TYPE_CHECKING:
    from adamms.report.compare.comparison import Comparison

# (chosen, best by labels) -> the mark in a cell.
MARKS = {(False, False): "", (True, False): "*", (False, True): "^", (True, True): "="}
Advance = Callable[[int], None]
LEAST_WORDS = 18  # characters of words that stand on one line
LEAST_HEADING, MOST_HEADING = 5, 12  # characters of a number's heading that stand on one line


class Console:
    """Where the user reads what happens.

    Args:
        file: standard output by default.
        width: columns; the terminal's, COLUMNS or 80 by default.
        patience: seconds that a stage may last off a terminal before a line says how far it is.
        interval: seconds, at least, between such lines.
        clock: seconds, increasing.
        record: hears of stages, too.
        log: keeps what is said.
    """

    def __init__(
        self,
        file: TextIO | None = None,
        width: int | None = None,
        patience: float = 2.0,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        record: Record | None = None,
        log: RunLog | None = None,
    ) -> None:
        self.record = record or NoRecord()
        self._rich = RichConsole(file=file, width=width, highlight=False, force_jupyter=False)
        self._notebook = file is None and RichConsole().is_jupyter
        self._log = log
        self._patience = patience
        self._interval = interval
        self._clock = clock
        self._timings: list[StageTiming] = []

    @property
    def timings(self) -> tuple[StageTiming, ...]:
        """Of the stages that have ended well, in order; those of one name count together."""
        found: dict[tuple[str, str], StageTiming] = {}
        for stage in self._timings:
            key = (stage.title, stage.unit)
            known = found.get(key, StageTiming(stage.title, 0.0, 0, stage.unit))
            seconds, count = known.seconds + stage.seconds, known.count + stage.count
            found[key] = StageTiming(stage.title, seconds, count, stage.unit)
        return tuple(found.values())

    @contextmanager
    def stage(self, title: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Show progress while the body runs; it is given `advance(count)`, which is thread-safe.

        Args:
            title: what is done.
            total: how many units there are, None if not known.
            unit: plural, e.g. "answers" or "bytes"; "" when nothing is counted.
        """
        meter = Meter(title, total, unit, self._clock)
        ended = False

        def advance(count: int) -> None:
            meter.advance(count)
            self.record.progress(meter.timing)

        try:
            with self._watch(meter):
                yield advance
            ended = True
        finally:
            self.say(meter.final(failed=not ended))
        self._timings.append(meter.timing)

    def begin(self) -> None:
        """The checks are over: the log, if there is one, keeps all that was and is said."""
        if self._log is not None:
            self._log.begin()

    def say(self, text: str) -> None:
        """Print a line as it is, unbroken, so that paths and commands can be copied."""
        self._print(Text(words.printable(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._print(Text(f"warning: {words.printable(text)}", style="yellow"), soft_wrap=True)

    def plan(self, plan: Plan) -> None:
        """Print what becomes of the target's tensors, and which part each donor has in them."""
        self.say(f"target: {plan.target}")
        for name, description in plan.donors.items():
            self.say(f"donor {name}: {description}")
        for table in plan_tables.plan_tables(plan):
            self.table(table)

    def tree(self, plan: Plan) -> None:
        """Print what every tensor of the target is made of; tensors that differ only in numbers once."""
        self._print()
        self._print(_grown(plan_tree(plan)))

    def finding(self, subject: str, state: str, detail: str, advice: str) -> None:
        """Print what was looked at, whether it is "ok", "absent" or "wrong", and what to do then."""
        style = {"ok": "green", "absent": "yellow", "wrong": "bold red"}[state]
        line = Text.assemble((f"{state:7}", style), (f"{subject}: ", "bold"), detail)
        if advice and state != "ok":
            line.append(f"  -> {advice}", style="cyan")
        self._print(line, soft_wrap=True)

    def results(self, result: Result) -> None:
        """Print scores (without labels: differences), the choices, and what they amount to."""
        scored = tables.scores(result)
        self.table(scored or tables.differences(result))
        if scored is not None or result.selection is not None:
            self._print(Text(marks(result), style="dim"))
        self.table(tables.choices(result))
        self.table(tables.summary(result))
        for paragraph in (*findings.paragraphs(result), *findings.doubts(result)):
            self._print()
            self._print(Text(words.printable(paragraph)))

    def comparison(self, comparison: "Comparison") -> None:
        """Print the models and the searches side by side, what has no result, and which model is best."""
        from adamms.report.compare import (  # of multiruns only
            comparison_tables,
            comparison_verdicts,
            published,
        )

        self.table(comparison_tables.overview(comparison))
        self.table(comparison_tables.searches(comparison))
        if (beside := published.beside(comparison)) is not None:
            self.table(published.table(beside))
        for line in (*comparison_tables.legend(comparison), *comparison_tables.unknown(comparison)):
            self._print(Text(line, style="dim"))
        for line in (*comparison_tables.doubts(comparison), *comparison_tables.failures(comparison)):
            self.warn(line)
        for verdict in comparison_verdicts.verdicts(comparison):
            self._print(Text(words.printable(verdict.text), style="bold"))

    def finish(self, folder: Path, loader: str) -> None:
        """Print where the merged model is and, as the last line, the code that loads it.

        Args:
            folder: of the model.
            loader: code that loads it, with {} where the folder goes.
        """
        place, code = (str(folder), "bold"), (loader.format(repr(str(folder))), "bold")
        self._print()
        self._print(
            Text.assemble("The merged model is in ", place, ". This loads it:\n", code), soft_wrap=True
        )

    def table(self, table: Table | None) -> None:
        """Print it, if there is one with rows; if it is wider than the console, in blocks of columns."""
        if table is None or not table.rows:
            return
        self._print()
        self._print(Text(table.title, style="bold"))
        table = _with_errors(table, self._rich.width)
        for number, block in enumerate(_blocks(table, self._rich.width)):
            if number:
                self._print()
            self._print(_drawn(table, block, self._rich.width))
        if table.note:
            self._print(Text(table.note, style="dim"))

    def _watch(self, meter: Meter) -> AbstractContextManager[object]:
        if self._notebook:
            return notebook_bar(meter)
        if self._rich.is_terminal and not self._rich.is_dumb_terminal:
            return bar(meter, self._rich)
        return heartbeat(meter, self.say, self._patience, self._interval)

    def _print(self, *shown: RenderableType, soft_wrap: bool = False) -> None:
        if soft_wrap or not self._notebook:
            self._rich.print(*shown, soft_wrap=soft_wrap)
        if self._log is not None:
            plain = RichConsole(
                file=cast(TextIO, self._log),
                width=self._rich.width,
                highlight=False,
                force_terminal=False,
                force_jupyter=False,
            )
            plain.print(*shown, soft_wrap=soft_wrap)


def marks(result: Result) -> str:
    """What the marks in its tables mean."""
    by_labels = "" if tables.scores(result) is None else "   ^ best by labels (oracle)   = both"
    return f"* chosen without labels{by_labels}"


def _mark(cell: Cell) -> str:
    return MARKS[cell.chosen, cell.best]


def _with_errors(table: Table, width: int) -> Table:
    """With standard errors behind all numbers that have one, or only the first column's, or none.

    Whichever says most without more blocks than the numbers alone take.
    """
    known = [index for index in range(len(table.columns)) if any(row[index].error for row in table.rows)]
    least = len(_blocks(table, width))
    for columns in (known, known[:1]):
        rows = [[_told(cell) if i in columns else cell for i, cell in enumerate(row)] for row in table.rows]
        told = replace(table, rows=tuple(map(tuple, rows)))
        if len(_blocks(told, width)) == least:
            return told
    return table


def _told(cell: Cell) -> Cell:
    return replace(cell, text=f"{cell.text} ± {cell.error}") if cell.error else cell


def _blocks(table: Table, width: int) -> list[list[int]]:
    """Indices of the columns that fit side by side; each block repeats the columns of words."""
    texts, blocks = list(range(table.texts)), [list(range(table.texts))]
    for index in range(table.texts, len(table.columns)):
        wider = [*blocks[-1], index]
        if sum(_width(table, i, LEAST_HEADING) + 1 for i in wider) - 1 > width and blocks[-1] != texts:
            blocks.append([*texts, index])
        else:
            blocks[-1] = wider
    return blocks


def _width(table: Table, index: int, heading: int) -> int:
    """Characters that a column takes if words may be folded, and a number's heading from `heading` on."""
    cells = max((len(_text(table, row, index)) for row in table.rows), default=0)
    if index < table.texts:
        return min(LEAST_WORDS, max(cells, len(table.columns[index])))
    return max(cells, min(heading, len(table.columns[index])))


def _drawn(table: Table, columns: Sequence[int], width: int) -> RichTable:
    """Some of the table's columns. Only words and headings are folded where there is no room."""
    heading = next(
        (h for h in range(MOST_HEADING, LEAST_HEADING, -1)
         if sum(_width(table, index, h) + 1 for index in columns) - 1 <= width),
        LEAST_HEADING,
    )  # fmt: skip
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=0, show_edge=False, collapse_padding=True)
    for index in columns:
        name, own = Text(words.printable(table.columns[index])), _width(table, index, heading)
        if index < table.texts:
            drawn.add_column(name, overflow="fold", vertical="top", min_width=own)
        else:
            drawn.add_column(name, overflow="fold", justify="right", width=own)
    for number, row in enumerate(table.rows):
        style = "bold" if number in table.strong else ""
        drawn.add_row(*(_text(table, row, index) for index in columns), style=style)
    return drawn


def _text(table: Table, row: Sequence[Cell], index: int) -> Text:
    """A cell with its mark; cells without one leave room for it where their column has marks."""
    mark, room = _mark(row[index]), any(_mark(other[index]) for other in table.rows)
    style = {"*": "cyan", "=": "green", "^": "magenta"}.get(mark, "")
    return Text(words.printable(row[index].text) + (mark or " " * room), style=style)


def _grown(branch: Branch) -> Tree:
    """rich's tree of it; its lines fold at the console's width."""
    tree = Tree(Text(branch.text, overflow="fold"), guide_style="dim")
    tree.children.extend(map(_grown, branch.below))
    return tree
