"""lmms-eval as conf/evaluate has it, and a local task of it over the digits with the same data as ours."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configured import content

from adamms.app.config.build import build
from adamms.data.example import Dataset
from adamms.evaluate.lmms.run import LmmsEval

TASK = """\
task: digits_{skill}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.images
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  max_new_tokens: 2
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
"""
UTILS = """\
from PIL import Image


def images(doc):
    return [Image.open(doc["image"]).convert("RGB")]
"""


@dataclass(frozen=True)
class DigitsTask:
    """One task per skill: `digits_<skill>` in `folder`, and `data`, a JSONL of ours with all of them."""

    folder: Path
    data: Path
    tasks: tuple[str, ...]


def write_digits_task(folder: Path, data: Dataset) -> DigitsTask:
    tasks = folder / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "utils.py").write_text(UTILS)
    lines: dict[str, list[str]] = {}
    for example in data.examples:
        record = {"id": example.id, "task": example.task, "question": example.question}
        record |= {"image": str(example.image), "answer": str(data.answers[example.id])}
        lines.setdefault(example.task, []).append(json.dumps(record) + "\n")
    for skill, own in lines.items():
        (folder / f"{skill}.jsonl").write_text("".join(own))
        (tasks / f"{skill}.yaml").write_text(TASK.format(skill=skill, file=folder / f"{skill}.jsonl"))
    everything = folder / "data.jsonl"
    everything.write_text("".join(line for own in lines.values() for line in own))
    return DigitsTask(tasks, everything, tuple(f"digits_{skill}" for skill in lines))


def lmms_eval(**own: Any) -> LmmsEval:
    """lmms-eval as a configuration makes it, with `own` in place of some values."""
    made: LmmsEval = build(content("evaluate/lmms_eval")["lmms_eval"] | own, "evaluate.lmms_eval")
    return made
