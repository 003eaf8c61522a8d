"""Reads what lmms-eval leaves: metrics of tasks, and every sample with its answer.

Owns the files of lmms-eval 0.3 and later; does not know how it was run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamms.engines.answer import first
from adamms.engines.logs.folder import OLD_RESULTS
from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import Metric, Sample, ToolResults
from adamms.evaluate.lmms.right import number, right

RESULTS, SAMPLES = "_results.json", "_samples_"
# Endings of keys that are a metric's error, not a metric.
STDERR = "_stderr"
ERRORS = (STDERR, "_stderr_clt", "_stderr_clustered")
# Fields of a sample that every task has; numbers beside them are its metrics.
COMMON = (
    *("doc_id", "doc", "target", "input", "arguments", "resps", "filtered_resps", "doc_hash", "input_media"),
    "token_counts",
)


def read_results(file: Path, folder: Path, version: str) -> ToolResults:
    """What lmms-eval wrote at one time: `<time>_results.json` and the samples beside it.

    Args:
        file: the results; before lmms-eval 0.3 `results.json`, with the samples in `<task>.json`.
        folder: the run's.
        version: of lmms-eval.

    Raises:
        AdammsError: a file that cannot be read, or not what lmms-eval writes.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        samples: list[Sample] = []
        for task in content["results"]:
            found = [_sample(task, row) for row in _rows(file, task)]
            samples += sorted(found, key=lambda sample: sample.number)
        model = str(content["config"]["model"])
        return ToolResults(version, model, folder, _metrics(content, samples), samples)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdammsError(
            f"{file}: not results as lmms-eval writes them ({type(error).__name__}: {error})"
        ) from error


def _rows(file: Path, task: str) -> Iterator[Any]:
    """The samples of a task beside the results; none where there is no such file."""
    if file.name == OLD_RESULTS:
        log = file.with_name(f"{task}.json")
        if log.is_file():
            yield from json.loads(log.read_text(encoding="utf-8"))["logs"]
        return
    log = file.with_name(f"{file.name.removesuffix(RESULTS)}{SAMPLES}{task}.jsonl")
    if log.is_file():
        with log.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())


def _metrics(content: Mapping[str, Any], samples: Sequence[Sample]) -> list[Metric]:
    """The numbers of every task; a task that leaves a file to be submitted has none."""
    found = []
    for task, values in content["results"].items():
        better = content.get("higher_is_better", {}).get(task) or {}
        count = sum(sample.task == task for sample in samples)
        for key, value in values.items():
            name, comma, kind = key.partition(",")
            known = number(value)
            if comma and known is not None and not name.endswith(ERRORS):
                stderr = number(values.get(f"{name}{STDERR},{kind}"))
                found.append(Metric(task, name, kind, known, stderr, count or None, better.get(name)))
    return found


def _sample(task: str, row: Mapping[str, Any]) -> Sample:
    """lmms-eval leaves `resps` out where it says the same as `filtered_resps`."""
    own = {key: value for key, value in row.items() if key not in COMMON}
    scores = {key: right(value) for key, value in own.items()}
    return Sample(
        task=task,
        number=int(row["doc_id"]),
        question=str(row.get("input", "")),
        target=str(row["target"]),
        answer=str(first(row["filtered_resps"])),
        raw=str(first(row.get("resps", row["filtered_resps"]))),
        images=tuple(medium for medium in row.get("input_media") or () if isinstance(medium, str)),
        scores={key: score for key, score in scores.items() if score is not None},
        logged={key: value for key, value in own.items() if isinstance(value, Mapping)},
    )
