"""The rows of a file or folder, whatever its format: JSON lines, a JSON array, parquet, a dataset's folder.

Knows no field: what a row says is decided in `fields` and `conversations`.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adamms.data.tables import PARQUET, table_rows
from adamms.errors import AdammsError, kind_of

Format = Literal["jsonl", "json", "parquet", "dataset"]
PARQUET_BEGINS = b"PAR1"
TABLES = {".csv": ",", ".tsv": r"\t"}


@dataclass(frozen=True)
class Row:
    """One row of the data.

    >>> Row(3, {"question": "What?"}).values["question"]
    'What?'

    Args:
        number: of its line, or its place, counted from 1.
        values: field -> value; or what is wrong with the row.
    """

    number: int
    values: Mapping[str, Any] | AdammsError


def json_lines(file: Path) -> Iterator[Row]:
    """A row for each line that is not empty."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield Row(number, _parsed(line))


def json_array(file: Path) -> Iterator[Row]:
    """A row for each object of the list that the file is.

    Raises:
        AdammsError: the file is no list.
    """
    try:
        found = _json(file.read_bytes())
    except AdammsError as error:
        raise AdammsError(f"{file}: {error}") from error
    if not isinstance(found, list):
        raise AdammsError(f"{file}: holds {kind_of(found)}; expected a list of objects")
    for number, values in enumerate(found, start=1):
        yield Row(number, _object(values))


def recognised(path: Path) -> Format:
    """The format of a file or folder that is there, by its name and how it begins."""
    if path.is_dir():
        return "dataset"
    if path.suffix in TABLES:
        raise AdammsError(
            f"data.path: {path}: {path.suffix} is no format of data. Write it as JSON lines: python -c "
            f"\"import pandas; pandas.read_csv('{path.name}', sep='{TABLES[path.suffix]}', dtype=str)"
            f".to_json('{path.stem}.jsonl', orient='records', lines=True)\""
        )
    if path.suffix == PARQUET:
        return "parquet"
    with path.open("rb") as stream:
        beginning = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if beginning.startswith(PARQUET_BEGINS):
        return "parquet"
    return "json" if beginning.startswith(b"[") and path.suffix != ".jsonl" else "jsonl"


def read_rows(path: Path, format: Format, split: str | None) -> Iterator[Row]:
    """The rows, in order.

    Args:
        split: of a dataset that has several.

    Raises:
        AdammsError: the file is not of this format, or there is no such split.
    """
    if split is not None and format != "dataset":
        raise AdammsError(f"data.split is {split!r}; only a dataset's folder has splits, {path} is {format}")
    if format in ("parquet", "dataset"):
        for number, values in enumerate(table_rows(path, split), start=1):
            yield Row(number, values)
        return
    reader: Callable[[Path], Iterator[Row]] = json_array if format == "json" else json_lines
    yield from reader(path)


def _parsed(text: bytes) -> Mapping[str, Any] | AdammsError:
    try:
        return _object(_json(text))
    except AdammsError as error:
        return error


def _object(values: Any) -> Mapping[str, Any] | AdammsError:
    if isinstance(values, dict):
        return values
    return AdammsError(f'{kind_of(values)}; expected an object, such as {{"question": "What?"}}')


def _json(text: bytes) -> Any:
    try:
        return json.loads(
            text.decode("utf-8-sig"),
            parse_constant=_no_constant,
            parse_float=_number,
            object_pairs_hook=_each_key_once,
        )
    except UnicodeDecodeError as error:
        raise AdammsError("not text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise AdammsError(f"not JSON ({error})") from error


def _number(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON; null is")
