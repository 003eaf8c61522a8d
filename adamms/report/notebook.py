"""How IPython shows a plan, a choice and a result: the console's tables and sentences, as HTML and as text.

Owns no words. Does nothing outside of IPython.
"""

import sys
from collections.abc import Callable, Iterator
from html import escape
from io import StringIO

from rich.text import Text

from adamms.mapping.plan import Plan
from adamms.report import findings, plan_tables, tables, words
from adamms.report.console import MARKS, Console, marks
from adamms.report.result import Result
from adamms.report.table import Cell, Table
from adamms.search.choice import Choice, Selection


def html(shown: Plan | Choice | Result) -> str:
    """What is known of it; a plan with its tree, folded."""
    return "".join(_plan(shown) if isinstance(shown, Plan) else _result(_of(shown)))


def text(shown: Plan | Choice | Result) -> str:
    """The same without the tree, as the console prints it."""

    def show(console: Console) -> None:
        if isinstance(shown, Plan):
            console.plan(shown)
        else:
            console.table(tables.own_scores(_of(shown)))
            console.results(_of(shown))

    return _printed(show)


def show_in_notebooks() -> None:
    """Have IPython, where this is one, show these types so."""
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython

    if (shell := get_ipython()) is not None:
        formatters = shell.display_formatter.formatters
        for kind in (Plan, Choice, Result):
            formatters["text/html"].for_type(kind, html)
            formatters["text/plain"].for_type(kind, lambda shown, printer, _: printer.text(text(shown)))


def _of(shown: Choice | Result) -> Result:
    return shown if isinstance(shown, Result) else Result("", selection=Selection({}, shown))


def _printed(show: Callable[[Console], None], width: int | None = None) -> str:
    """Without colours, for which a notebook's environment asks wherever text goes."""
    printed = StringIO()
    show(Console(file=printed, width=width))
    return Text.from_ansi(printed.getvalue()).plain.strip()


def _plan(plan: Plan) -> Iterator[str]:
    yield _paragraph(f"target: {plan.target}")
    yield from (_paragraph(f"donor {name}: {described}") for name, described in plan.donors.items())
    yield from map(_table, plan_tables.plan_tables(plan))
    tree = escape(_printed(lambda console: console.tree(plan), width=110))
    yield f"<details><summary>every tensor</summary><pre>{tree}</pre></details>"


def _result(result: Result) -> Iterator[str]:
    found = tables.scores(result) or tables.differences(result)
    shown = (tables.own_scores(result), found, tables.choices(result), tables.summary(result))
    of_tools = map(tables.of_tool, result.tools.values())
    yield from (_table(t) for t in (*shown, *of_tools) if t is not None and t.rows)
    if result.selection is not None:
        yield _paragraph(marks(result))
    yield from map(_paragraph, (*findings.paragraphs(result), *findings.doubts(result)))
    if result.folder is not None:
        yield f"{_paragraph(f'The merged model is in {result.folder}')}<pre>{escape(result.load)}</pre>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(words.printable(text))}</p>"


def _table(table: Table) -> str:
    head = "".join(
        f'<th style="text-align: {"left" if index < table.texts else "right"}">'
        f"{escape(words.printable(name))}</th>"
        for index, name in enumerate(table.columns)
    )
    rows = ""
    for number, row in enumerate(table.rows):
        strong = number in table.strong
        cells = (_cell(cell, index < table.texts, strong) for index, cell in enumerate(row))
        rows += f"<tr>{''.join(cells)}</tr>"
    note = _paragraph(table.note) if table.note else ""
    title = f"<caption>{escape(words.printable(table.title))}</caption>"
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def _cell(cell: Cell, is_text: bool, strong: bool) -> str:
    error = f" ± {cell.error}" if cell.error else ""
    text = escape(words.printable(cell.text) + error) + MARKS[cell.chosen, cell.best]
    # Numbers are not folded: a notebook scrolls what is wide.
    style = "text-align: left" if is_text else "white-space: nowrap"
    return f'<td style="{style}">{f"<b>{text}</b>" if strong else text}</td>'
