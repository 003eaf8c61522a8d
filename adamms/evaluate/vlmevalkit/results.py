"""Reads what VLMEvalKit leaves: the metrics in status.json, and every row of the tables that it scored.

Owns the files of VLMEvalKit of 2026; does not know how it was run.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adamms.engines.logs.table_rows import table_rows
from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import VLMEVALKIT, Metric, Sample, ToolResults

STATUS = "status.json"
HIT = "hit"  # the column of a row's score
# How a judge is named in its table of scores, where not by its own name.
JUDGES = ("", "_openai", "_gpt4")
KINDS = (".tsv", ".xlsx")
NUMBER = re.compile(r"\d+(\.\d*)?")


def read_results(file: Path, folder: Path, version: str) -> ToolResults:
    """What one run has left.

    Args:
        file: its status.json, beside the tables.
        folder: the run's.
        version: of VLMEvalKit.

    Raises:
        AdammsError: a file that cannot be read or is another one.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        metrics: list[Metric] = []
        samples: list[Sample] = []
        failed: dict[str, str] = {}
        for dataset, status in content["datasets"].items():
            if why := status.get("error_message") or status.get("skip_reason"):
                failed[dataset] = str(why)
                continue
            own = list(_samples(file.parent, dataset, status))
            metrics += _metrics(dataset, status.get("metrics") or {}, len(own) or None)
            samples += own
        return ToolResults(
            version, str(content["model_name"]), folder, metrics, samples, VLMEVALKIT, failed=failed
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdammsError(
            f"{file}: not a status as VLMEvalKit writes it ({type(error).__name__}: {error})"
        ) from error


def _metrics(dataset: str, values: Mapping[str, Any], count: int | None) -> list[Metric]:
    """The numbers of a dataset, in its own unit."""
    return [
        Metric(dataset, name, "none", float(value), None, count)
        for name, value in values.items()
        if isinstance(value, int | float)
    ]


def _samples(folder: Path, dataset: str, status: Mapping[str, Any]) -> Iterator[Sample]:
    """The rows, numbered by their place, with their scores where the dataset is scored row by row.

    Their mean is the dataset's first metric then, whose name they get.
    """
    answers = folder / (status.get("prediction_file") or f"no table of {dataset}")
    judges = (f"_{status.get('judge_model')}", *JUDGES)
    scored = [answers.with_name(f"{answers.stem}{judge}_result{kind}") for judge in judges for kind in KINDS]
    tables = [table for table in (*scored, answers) if table.is_file() and table.suffix in KINDS]
    for number, row in enumerate(table_rows(tables[0]) if tables else ()):
        text = str(row["prediction"])
        hit = str(row.get(HIT, ""))
        yield Sample(
            task=dataset,
            number=number,
            question=str(row.get("question", "")),
            target=str(row.get("answer", "")),
            answer=text,
            raw=text,
            scores={str(status.get("primary_metric") or HIT): float(hit)} if NUMBER.fullmatch(hit) else {},
        )
