"""What a run has to show beyond numbers, as W&B keeps it: the table of answers, and artifacts.

Given the package wandb by `wandb`, so that importing this module imports nothing heavy.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from adamms.checkpoint.side_files import RECORD
from adamms.data.example import Medium
from adamms.engines.answer import normalised
from adamms.engines.image import is_photograph
from adamms.engines.thought import with_thought_in_brief
from adamms.engines.video import shown
from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import ToolResults
from adamms.merge.candidate import Candidate, short
from adamms.report import files
from adamms.report.result import Result
from adamms.report.trackers import metrics
from adamms.report.trackers.metrics import identifier

HUB = "https://huggingface.co/"
SCORE = "mean score (%)"


def answers_table(wandb: ModuleType, result: Result, image_size: int) -> Any:
    """A row per example: what was asked, with its images, and the answer of every candidate or of the model.

    Of a video it has the first frame.

    W&B keeps 10000 rows of a table; the examples beyond are in answers.jsonl.
    """
    answered = result.answered[: wandb.Table.MAX_ROWS]
    candidates = sorted({candidate for one in answered for candidate in one.texts})
    labelled = any(one.label is not None for one in answered)
    most = max((len(one.example.images) for one in answered), default=1)
    more = [f"image {number}" for number in range(2, most + 1)]
    own = list(dict.fromkeys(name for one in answered for name in one.columns))
    videos = ["video"] if any(one.example.video for one in answered) else []
    columns = ["task", "example", "image", *more, *videos, "question", *(["label"] if labelled else [])]
    columns += [f"data.{name}" for name in own]
    columns += ["different answers", *map(column, candidates)] if candidates else ["answer"]
    asked = dict.fromkeys(medium for one in answered for medium in one.example.media if image_size > 0)
    pictures: dict[Medium | None, Any] = {each: _image(wandb, each, image_size) for each in asked}
    rows = []
    for one in answered:
        example, given = one.example, [one.texts.get(candidate) for candidate in candidates]
        places = [*example.images, *[None] * most][: len(more) + 1]
        media: list[Medium | None] = [*places, *[example.video] * len(videos)]
        row = [example.task, example.id, *map(pictures.get, media), example.question]
        row += [one.label] if labelled else []
        row += [one.columns.get(name) for name in own]
        different = len({normalised(text) for text in given if text is not None})
        texts = given if candidates else [one.text]
        brief = [None if text is None else with_thought_in_brief(text) for text in texts]
        rows.append([*row, *([different] if candidates else []), *brief])
    return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)


def chart(wandb: ModuleType, result: Result, signal: str) -> dict[str, Any]:
    """Mean score and D along the grid's only axis in one chart and its table; {} for other grids.

    W&B draws it with the lines of every run that is shown, as of a group. The two have one axis there: a
    score is a share of all points, D of the search's largest. `value` has them unscaled, by `what` they are.
    """
    axis = result.axis
    if axis is None or result.selection is None:
        return {}
    along, choice, rows = identifier(short(axis)), result.choice(None), []
    differences = choice.differences if choice else {}
    most = max(differences.values(), default=0.0) or 1.0
    for candidate in result.grid:
        place, score = candidate.settings[axis], result.scores_of(candidate).estimate()
        if score is not None:
            rows.append([place, SCORE, score.value, score.error, score.value])
        if candidate in differences:
            value = differences[candidate]
            rows.append([place, f"D, {signal}", value, None, 100 * value / most])
    rows = [[metrics.plain(value) for value in row] for row in rows]
    table = wandb.Table(columns=[along, "what", "value", "error", "percent"], data=rows)
    fields = {"step": along, "lineKey": "what", "lineVal": "percent"}
    said = {"title": f"Mean score (%) and D (% of its largest) along {along}", "xname": along}
    return {f"score_and_D_along_{along}": wandb.plot_table("wandb/lineseries/v0", table, fields, said)}


def samples_table(wandb: ModuleType, found: ToolResults) -> Any:
    """A row per sample of an evaluation tool: what was asked, what was right, and what came back."""
    texts = ("task", "number", "question", "target", "answer", "raw")
    rows = [
        [*(getattr(sample, name) for name in texts), json.dumps(dict(sample.scores), sort_keys=True)]
        for sample in found.samples[: wandb.Table.MAX_ROWS]
    ]
    return wandb.Table(columns=[*texts, "scores"], data=rows)


def column(candidate: Candidate) -> str:
    """'alpha=0.3', or 'density=0.2, alpha=0.3'."""
    return f"alpha={candidate}" if candidate.alpha_alone else str(candidate)


def _image(wandb: ModuleType, medium: Medium, size: int) -> Any:
    """The image as the models see it, scaled down if it is larger than `size`; None if it is gone."""
    try:
        image = shown(medium)
    except AdammsError:
        return None
    exact = max(image.size) <= size and not is_photograph(medium)
    image.thumbnail((size, size))
    return wandb.Image(image, file_type="png" if exact else "jpg")


def checkpoints(wandb: ModuleType, settings: Mapping[str, Any]) -> list[Any]:
    """The models that went in, as artifacts that only point to them: target, donors, ancestor.

    Of a run that was given a model, that model, with its recipe.
    """
    if given := settings.get("given"):
        return [_checkpoint(wandb, "given", given["place"], None, given)]
    if "replay" in str((settings.get("engine") or {}).get("_target_")):
        return []
    models = settings.get("model") or {}
    donors = {f"donor {name}": node for name, node in (models.get("donors") or {}).items()}
    sources = {"target": models.get("target"), **donors, "ancestor": models.get("ancestor")}
    return [
        _checkpoint(wandb, role, str(node[kind]), node.get("revision"))
        for role, node in sources.items()
        for kind in ("path", "adapter")
        if isinstance(node, Mapping) and node.get(kind) is not None
    ]


def _checkpoint(
    wandb: ModuleType, role: str, place: str, revision: object, more: Mapping[str, Any] | None = None
) -> Any:
    folder = Path(place).expanduser()
    local = folder.exists()
    uri = folder.resolve().as_uri() if local else HUB + place + (f"/tree/{revision}" if revision else "")
    name = identifier(folder.name if local else place)[:100]
    metadata = {"role": role, "source": place, "revision": revision, "uri": uri} | dict(more or {})
    artifact = wandb.Artifact(f"checkpoint-{name}", type="checkpoint", metadata=metadata)
    artifact.add_reference(uri, name=None if local else name, checksum=False)
    return artifact


def model_artifact(wandb: ModuleType, run: str, result: Result, inputs: Sequence[Any], checksum: bool) -> Any:
    """The merged model where it lies: its files are referred to, and only its recipe is uploaded.

    The recipe has the fingerprint of the weights, so that another model is another version of the artifact,
    although without `checksum` wandb knows the other files by their paths alone.
    """
    folder = result.folder
    assert folder is not None
    recipe = folder / RECORD
    record = json.loads(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
    metadata = {
        "folder": str(folder.resolve()),
        "load": result.load,
        "target": result.target,
        "donors": dict(result.donors),
        "method": result.method,
        "merged_at": None if result.merged is None else result.merged.settings,
        "coefficients": record.get("coefficients"),
        "schedule": record.get("schedule"),
        "fingerprint": record.get("fingerprint"),
        "inputs": [dict(artifact.metadata) for artifact in inputs],
    }
    artifact = wandb.Artifact(f"model-{run}", type="model", metadata=metadata)
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix()
        if name == RECORD:
            artifact.add_file(str(file), name=name)
        else:
            artifact.add_reference(file.resolve().as_uri(), name=name, checksum=checksum)
    return artifact


def run_artifacts(wandb: ModuleType, run: str, output: Path, inputs: Sequence[Any]) -> list[Any]:
    """How the model is made, and what was found, to read: those of the run's files that are there."""
    metadata = {"inputs": [dict(artifact.metadata) for artifact in inputs]}
    kinds = {
        "recipe": (files.PLAN, files.VERIFIED, files.SELECTION, files.SETTINGS, f"{files.MODEL}/{RECORD}"),
        "report": (files.REPORT, files.RESULT, files.EVALUATION, files.ANSWERS),
    }
    found = []
    for kind, names in kinds.items():
        there = [name for name in names if (output / name).is_file()]
        artifact = wandb.Artifact(f"{kind}-{run}", type=kind, metadata=metadata)
        for name in there:
            artifact.add_file(str(output / name), name=name)
        found += [artifact] if there else []
    return found
