"""What a run leaves in its output folder: the merged model, what is recorded beside it, the answers.

Like `pipeline`, above the layers: it knows the configuration and the case. Files are whole or absent.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adamms.app.merges import Case
from adamms.app.models import advice
from adamms.checkpoint.side_files import copy_side_files, side_files
from adamms.checkpoint.writer import check_writable, whole_folder, write_tensors
from adamms.merge.method import TARGET
from adamms.merge.recipe import Recipe
from adamms.models.registration import native_family
from adamms.report.card import write_card
from adamms.report.console import Console
from adamms.report.result import Answered, Result

RECORD = "adamms_recipe.json"
# The configuration of the run that wrote `model`, beside it: by this a run knows its own work.
SETTINGS = "config.yaml"
# What loads it, its folder in the place of {}.
LOADER = "transformers.AutoModelForImageTextToText.from_pretrained({})"
NATIVE_LOADER = "adamms.models.registration.load_model({})"
VLLM_LOADER = "vllm.LLM({}, trust_remote_code=True)"


def model_folder(config: DictConfig) -> Path:
    """Where the merged model goes."""
    return Path(config.output) / "model"


def check_output(config: DictConfig, case: Case) -> None:
    """Fail before any work if the model could not be written at the end."""
    if not _continues(config):
        check_writable(model_folder(config), _bytes_needed(case))


def loader(case: Case) -> str:
    """The code that loads what is written."""
    if native_family(case.target.checkpoint.folder) is not None:
        return NATIVE_LOADER
    return VLLM_LOADER if advice(case.target, "transformers") else LOADER


def write_model(console: Console, config: DictConfig, case: Case, recipe: Recipe) -> Path:
    """Write the merged checkpoint with everything that the target's folder has beside its weights.

    Returns:
        Its folder, OUTPUT/model.
    """
    folder = model_folder(config)
    total = sum(entry.nbytes for entry in recipe.layout())
    record = case.record(recipe)
    if _continues(config) and _read_json(folder / RECORD) == json.loads(json.dumps(record)):
        console.say(f"{folder} was written by this run before; it is kept")
        return folder
    with whole_folder(folder, _bytes_needed(case)) as partial:
        with console.stage("merge", total, "bytes") as advance:
            source = case.computed(recipe)
            write_tensors(source, partial, int(config.max_shard_gb * 1e9), source.workers, advance)
        copy_side_files(case.target.checkpoint.folder, partial)
        write_card(partial, case.cards, record, loader(case))
        write_json(partial / RECORD, record)
        (folder.parent / SETTINGS).write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")
    return folder


def complete_card(case: Case, recipe: Recipe, result: Result) -> None:
    """Add to the card of the model in `result.folder` how it was chosen and how it scored."""
    assert result.folder is not None
    write_card(result.folder, case.cards, case.record(recipe), loader(case), result)


def result_of(case: Case, console: Console) -> Result:
    """What every mode that maps has to tell."""
    return Result(
        title=f"{', '.join(case.names[name] for name in case.donors)} into {case.names[TARGET]}",
        target=case.names[TARGET],
        donors={name: case.names[name] for name in case.donors},
        method=case.arithmetic,
        plan=case.plan,
        timings=console.timings,
    )


def write_answers(file: Path, answered: Sequence[Answered]) -> None:
    """One line per example with every candidate's answer, to look at."""
    lines = []
    for one in answered:
        example = one.example
        given = {str(candidate): one.texts[candidate] for candidate in sorted(one.texts)}
        image = None if example.image is None else str(example.image)
        record = {"id": example.id, "task": example.task, "question": example.question, "image": image}
        lines.append(json.dumps(record | {"answers": given}, ensure_ascii=False))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write it, and make the folder if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _continues(config: DictConfig) -> bool:
    """Whether this very run has written its model before: a job that was requeued, a command repeated."""
    file = Path(config.output) / SETTINGS
    return file.is_file() and file.read_text(encoding="utf-8") == OmegaConf.to_yaml(config, resolve=True)


def _bytes_needed(case: Case) -> int:
    checkpoint = case.target.checkpoint
    files = (checkpoint.folder / file for file in side_files(checkpoint.folder))
    return sum(entry.nbytes for entry in checkpoint.tensors.values()) + sum(f.stat().st_size for f in files)


def _read_json(file: Path) -> Any:
    """The file's content; None if it is not there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
