"""What lmms-eval found, as plain data: metrics of tasks, and every sample with its answer.

Owns the files of lmms-eval 0.3 and later; does not know how it was run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamms.engines.answer import first
from adamms.errors import AdammsError
from adamms.evaluate.lmms.right import number, right

RESULTS, SAMPLES = "_results.json", "_samples_"
OLD_RESULTS = "results.json"
# Endings of keys that are a metric's error, not a metric.
STDERR = "_stderr"
ERRORS = (STDERR, "_stderr_clt", "_stderr_clustered")
# Fields of a sample that every task has; numbers beside them are its metrics.
COMMON = (
    *("doc_id", "doc", "target", "input", "arguments", "resps", "filtered_resps", "doc_hash", "input_media"),
    "token_counts",
)


@dataclass(frozen=True)
class Metric:
    """One number of one task, in the task's own unit.

    Args:
        task: a task or a group of tasks.
        name: of the metric, e.g. "exact_match".
        filter: of the answers before scoring; "none" where there is none.
        value: as lmms-eval gives it, often in [0, 1].
        stderr: its standard error, where lmms-eval has one.
        samples: how many samples it is over; None of a group.
        higher_is_better: None where the task does not say.
    """

    task: str
    name: str
    filter: str
    value: float
    stderr: float | None = None
    samples: int | None = None
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class Sample:
    """One question as lmms-eval put it, and what came back.

    Args:
        task: where it belongs.
        number: lmms-eval's doc_id.
        question: the text, without the model's chat template.
        target: the right answer.
        answer: what is scored: after the task's filters.
        raw: as the model gave it.
        images: what else was shown, where lmms-eval can name it.
        scores: metric -> score of this sample, where that can be told.
        logged: metric -> what the task logs of it in place of a number.
    """

    task: str
    number: int
    question: str
    target: str
    answer: str
    raw: str
    images: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    logged: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class LmmsResults:
    """What one run of lmms-eval left.

    Args:
        version: of lmms-eval.
        model: its name for what ran the model, e.g. "vllm".
        folder: where its files are; `engine.logs` takes it.
        metrics: task by task.
        samples: task by task, by number.
    """

    version: str
    model: str
    folder: Path
    metrics: Sequence[Metric]
    samples: Sequence[Sample]

    def to_json(self) -> dict[str, Any]:
        """Without the samples: those are in the folder."""
        metrics = [dict(vars(metric)) for metric in self.metrics]
        return {"version": self.version, "model": self.model, "folder": str(self.folder), "metrics": metrics}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LmmsResults":
        """What `to_json` wrote, without samples."""
        metrics = tuple(Metric(**metric) for metric in data["metrics"])
        return cls(data["version"], data["model"], Path(data["folder"]), metrics, ())


def read_results(file: Path, folder: Path, version: str) -> LmmsResults:
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
        return LmmsResults(version, model, folder, _metrics(content, samples), samples)
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
