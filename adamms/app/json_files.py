"""The JSON that runs leave: files that are whole or absent, with lines that people can read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adamms.system.whole_file import write_whole

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ": ")).encode


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write it, whole or not at all; make the folder if need be."""
    write_whole(file, _lines(content) + "\n")


def _lines(value: Any, margin: str = "") -> str:
    """JSON with a line for every key; a list of numbers or texts is on one.

    >>> print(_lines({"points": {"read": [1,0.5]}}))
    {
      "points": {
        "read": [1,0.5]
      }
    }
    """
    parts: list[str] = []
    if isinstance(value, Mapping):
        parts = [f"{_to_json(key)}: {_lines(one, margin + '  ')}" for key, one in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        parts = [_lines(one, margin + "  ") for one in value]
    if not parts:
        return _to_json(value)
    start, end = "{}" if isinstance(value, Mapping) else "[]"
    return f"{start}\n{margin}  " + f",\n{margin}  ".join(parts) + f"\n{margin}{end}"


def write_lines(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """One line of JSON per record, whole or not at all."""
    write_whole(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
