"""A local task of lmms-eval over the digits, and the same questions as our own data."""

import json
from dataclasses import dataclass
from pathlib import Path

from adamms.data.example import Dataset

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
        record |= {"image": str(example.image), "answer": data.answers[example.id]}
        lines.setdefault(example.task, []).append(json.dumps(record) + "\n")
    for skill, own in lines.items():
        (folder / f"{skill}.jsonl").write_text("".join(own))
        (tasks / f"{skill}.yaml").write_text(TASK.format(skill=skill, file=folder / f"{skill}.jsonl"))
    everything = folder / "data.jsonl"
    everything.write_text("".join(line for own in lines.values() for line in own))
    return DigitsTask(tasks, everything, tuple(f"digits_{skill}" for skill in lines))
