"""Which files of a folder are the logs to read, and of which tasks. Reads none of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adamms.errors import AdammsError

SAMPLES = "_samples_"
OLD_RESULTS = "results.json"  # beside <task>.json
PICKLES = (".pkl", ".pickle")
NUMBER = re.compile(r"\d*\.?\d+")


@dataclass(frozen=True)
class Found:
    """The logs of one alpha: the files, and sentences of what was left out."""

    files: Sequence[Path]
    notes: Sequence[str] = ()


def find_logs(path: Path) -> Found:
    """The file itself; for a folder, all sample logs in it and below, the latest of each task.

    Raises:
        AdammsError: nothing there, or the logs of several models.
    """
    if path.is_file() or path.suffix in PICKLES:
        return Found([path])
    if not path.is_dir():
        raise AdammsError(f"engine.logs: {path}: no such file or folder")
    logs = sorted(path.rglob(f"*{SAMPLES}*.jsonl"), key=lambda file: (file.name, file))
    if logs:
        _check_one_model(path, logs)
        latest = {task_of(file): file for file in logs}  # names begin with the time
        earlier = [file.name for file in logs if file not in latest.values()]
        said = f"{path}: {len(earlier)} logs of earlier runs are left out, the latest of each task counts: "
        notes = [said + ", ".join(earlier)] if earlier else []
        if len(folders := sorted({file.parent.name for file in latest.values()})) > 1:
            notes.append(
                f"{path}: the tasks' logs lie in several folders, {', '.join(folders)}: are they one model's?"
            )
        return Found([latest[task] for task in sorted(latest)], notes)
    if not (old := _old(path)):
        raise AdammsError(
            f"engine.logs: {path}: no *{SAMPLES}<task>.jsonl and no <task>.json of lmms-eval in this folder; "
            f"name VLMEvalKit's files one by one"
        )
    return Found(old)


@dataclass(frozen=True)
class FoundModels:
    """The folders in a folder: those that an alpha names, other models' by name, and those without logs."""

    alphas: Mapping[str, str]
    others: Mapping[str, str]
    without: Sequence[str]


def find_models(path: Path) -> FoundModels:
    """Which model has its logs in which folder of a folder.

    Raises:
        AdammsError: no such folder, or nothing in it that a number names.
    """
    if not path.is_dir():
        raise AdammsError(f"engine.logs: {path}: no such folder; or name each: {{0.0: LOG0, 0.1: LOG1}}")
    found = {each.name: str(each) for each in sorted(path.iterdir()) if each.is_dir()}
    alphas = {name: place for name, place in found.items() if NUMBER.fullmatch(name)}
    if not alphas:
        raise AdammsError(
            f"engine.logs: {path}: no folder in it is named by an alpha, such as 0.1; there are: "
            f"{', '.join(found) or 'none'}"
        )
    others = {name: place for name, place in found.items() if name not in alphas and _has_logs(Path(place))}
    return FoundModels(alphas, others, [name for name in found if name not in alphas and name not in others])


def _has_logs(folder: Path) -> bool:
    """Of today's lmms-eval, or old ones, which other JSON is taken for unless the results are beside it."""
    return any(folder.rglob(f"*{SAMPLES}*.jsonl")) or bool((folder / OLD_RESULTS).is_file() and _old(folder))


def _old(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.json")) if file.name != OLD_RESULTS]


def _check_one_model(path: Path, logs: Sequence[Path]) -> None:
    """Raise AdammsError if a task's logs lie in several folders, or the runs name several models.

    lmms-eval makes a folder for each model, of the last two parts of its path, and names the model in full in
    the results beside the logs.
    """
    places: dict[str, set[str]] = {}
    models: dict[str, str] = {}
    for file in logs:
        places.setdefault(task_of(file), set()).add(str(file.parent))
        results = file.with_name(f"{file.name.partition(SAMPLES)[0]}_results.json")
        try:
            models[str(json.loads(results.read_text(encoding="utf-8")).get("model_name") or "")] = file.name
        except (OSError, ValueError, AttributeError):
            continue  # results may be absent: the logs alone are read
    models.pop("", None)
    if len(models) > 1:
        named = ", ".join(f"{model} ({name})" for model, name in models.items())
        raise AdammsError(
            f"engine.logs: {path}: its runs are of several models: {named}; name one model's files, as "
            f"{{task: file}}"
        )
    for task, folders in places.items():
        if len(folders) > 1:
            raise AdammsError(
                f"engine.logs: {path}: the task {task} has logs in several folders, as of several models: "
                f"{', '.join(sorted(folders))}; name one of them"
            )


def task_of(file: Path) -> str:
    """mme, both of `20250301_101500_samples_mme.jsonl` and of `mme.json`."""
    return file.stem.partition(SAMPLES)[2] or file.stem
