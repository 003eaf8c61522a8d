"""What an evaluation tool found, as plain data: metrics of tasks, and every sample with its answer.

Knows neither the tools' files nor how they are run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LMMS_EVAL, VLMEVALKIT = "lmms-eval", "VLMEvalKit"


@dataclass(frozen=True)
class Metric:
    """One number of one task, in the task's own unit.

    Args:
        task: a task or a group of tasks.
        name: of the metric, e.g. "exact_match".
        filter: of the answers before scoring; "none" where there is none.
        value: as the tool gives it, often in [0, 1].
        stderr: its standard error, where the tool has one.
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
    """One question as the tool put it, and what came back.

    Args:
        task: where it belongs.
        number: of the question in the tool's data.
        question: the text, without the model's chat template.
        target: the right answer.
        answer: what is scored: after the task's filters.
        raw: as the model gave it.
        images: what else was shown, where the tool can name it.
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
class ToolResults:
    """What one run of an evaluation tool left.

    Args:
        version: of the tool.
        model: its name for what ran the model, e.g. "vllm".
        folder: where its files are; `engine.logs` takes it.
        metrics: task by task.
        samples: task by task, by number.
        tool: its name.
        failed: task -> why it has no metrics; not kept in JSON.
    """

    version: str
    model: str
    folder: Path
    metrics: Sequence[Metric]
    samples: Sequence[Sample]
    tool: str = LMMS_EVAL
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Without the samples: those are in the folder."""
        metrics = [dict(vars(metric)) for metric in self.metrics]
        own = {"version": self.version, "model": self.model, "folder": str(self.folder), "metrics": metrics}
        return own | {"tool": self.tool}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ToolResults":
        """What `to_json` wrote, without samples."""
        metrics = tuple(Metric(**metric) for metric in data["metrics"])
        tool = data.get("tool", LMMS_EVAL)
        return cls(data["version"], data["model"], Path(data["folder"]), metrics, (), tool)
