"""Rows of the tables that other tools write, tsv and xlsx. Knows no columns."""

import csv
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from adamms.errors import AdammsError, install


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table by column.

    Raises:
        AdammsError: no table, or xlsx without what reads it.
    """
    return _xlsx(path) if path.suffix == ".xlsx" else _tsv(path)


def _tsv(path: Path) -> Iterator[dict[str, Any]]:
    """Rows by column. Fields may hold images as base64, megabytes each: hence the limit."""
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t", strict=True)
            for row in reader:
                if None in row.values():
                    raise AdammsError(
                        f"{path}: line {reader.line_num}: {len(row) - list(row.values()).count(None)} of "
                        f"{len(row)} columns; is the file cut off?"
                    )
                yield row
    except csv.Error as error:
        raise AdammsError(f"{path}: line {reader.reader.line_num}: not a table ({error})") from error


def _xlsx(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise AdammsError(f"{path}: reading xlsx needs the extra `xlsx`: {install('xlsx')}") from error
    from zipfile import BadZipFile

    try:
        book = load_workbook(path, read_only=True)  # "=1+1" is what a model has said, and no formula
    except (InvalidFileException, BadZipFile, KeyError) as error:
        raise AdammsError(f"{path}: not an xlsx file ({error})") from error
    with closing(book):
        rows = book.worksheets[0].iter_rows(values_only=True)
        header = [str(name) for name in next(rows, ())]
        for row in rows:
            if any(value is not None for value in row):
                yield dict(zip(header, row, strict=False))
