"""The curves of a multirun's searches, to lay over each other: read from the files that every job left.

Knows selection.json and evaluation.json; draws nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamms.errors import AdammsError
from adamms.report.comparison import Job


@dataclass(frozen=True)
class Curve:
    """One search along its only axis.

    Args:
        axis: the key that its candidates set.
        differences: value -> D over all examples.
        scores: value -> mean score; empty without labels.
    """

    axis: str
    differences: Mapping[float, float]
    scores: Mapping[float, float]


def curve(job: Job) -> Curve | None:
    """The curve of a search that is done; None where it had several axes, or has no result.

    Raises:
        AdammsError: files that are not what adamms writes.
    """
    if job.found is None or len(job.found.overall.settings) != 1:
        return None
    file = job.output / "evaluation.json"
    differences = _read(job.output / "selection.json", lambda content: content["overall"]["differences"])
    scores = {}
    if file.is_file():
        found = _read(file, lambda content: content["candidates"])
        scores = {name: one["mean"] for name, one in found.items()}
    try:
        (axis,) = job.found.overall.settings
        return Curve(axis, _by_value(differences), _by_value(scores))
    except ValueError as error:
        raise AdammsError(f"{job.output}: a candidate is not one number ({error})") from error


def _by_value(found: Mapping[str, float]) -> dict[float, float]:
    """The candidates are '0.3', or 'density=0.3'."""
    return {float(name.rpartition("=")[2]): value for name, value in found.items()}


def _read(file: Path, part: Any) -> dict[str, Any]:
    try:
        return dict(part(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdammsError(f"{file}: cannot be read ({error})") from error
