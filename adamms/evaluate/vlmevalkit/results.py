"""Reads what VLMEvalKit leaves: the metrics in status.json, and every row of the tables that it scored.

Owns the files of VLMEvalKit of 2026; does not know how it was run.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adamms.engines.logs.table_rows import table_rows
from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import VLMEVALKIT, Metric, Sample, ToolResults

STATUS = "status.json"
HIT = "hit"  # the column of a row's score
SCORED = ("_result.tsv", "_result.xlsx")


def read_results(file: Path, folder: Path, version: str) -> ToolResults:
    """What one run has left.

    Args:
        file: its status.json, beside the tables.
        folder: the run's.
        version: of VLMEvalKit.

    Raises:
        AdammsError: a file that cannot be read or is another one, or a dataset that has failed.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        metrics: list[Metric] = []
        samples: list[Sample] = []
        for dataset, status in content["datasets"].items():
            if status.get("error_message"):
                raise AdammsError(f"{file}: {dataset} has failed: {status['error_message']}")
            own = list(_samples(file.parent, content["model_name"], dataset))
            metrics += _metrics(dataset, status.get("metrics") or {}, len(own) or None)
            samples += own
        return ToolResults(version, str(content["model_name"]), folder, metrics, samples, VLMEVALKIT)
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


def _samples(folder: Path, model: str, dataset: str) -> Iterator[Sample]:
    """The rows with their scores, where the dataset is scored row by row; else with the answers alone."""
    start = f"{model}_{dataset}"
    scored = sorted(f for f in folder.glob(f"{start}_*") if f.name.endswith(SCORED))
    plain = [folder / f"{start}{kind}" for kind in (".tsv", ".xlsx")]
    for row in next((table_rows(table) for table in (*scored, *plain) if table.is_file()), ()):
        text = str(row["prediction"])
        hit = str(row.get(HIT, ""))
        yield Sample(
            task=dataset,
            number=int(float(row["index"])),
            question=str(row.get("question", "")),
            target=str(row.get("answer", "")),
            answer=text,
            raw=text,
            scores={HIT: float(hit)} if hit.replace(".", "", 1).isdigit() else {},
        )
