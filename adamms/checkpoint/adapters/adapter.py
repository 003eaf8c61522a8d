"""Reads a PEFT LoRA adapter: its folder, and what each of its tensors does to which tensor of the base.

LoRA: Hu et al., 2021 (arXiv:2106.09685), W + lora_alpha / r * B A; rank-stabilised LoRA: Kalajdzievski, 2023
(arXiv:2312.03732), the root of r in its place; DoRA: Liu et al., 2024 (arXiv:2402.09353). Files as PEFT
writes them. Computes nothing: `adapted` does.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint, Change, LowRank
from adamms.checkpoint.adapters.module_names import StoredModules
from adamms.checkpoint.adapters.tying import settle, tied_tables, untied_config
from adamms.checkpoint.mistaken_paths import has_weights
from adamms.checkpoint.reader import ADAPTER_CONFIG, Checkpoint, read_json
from adamms.checkpoint.tensor_entry import MERGEABLE, TensorEntry
from adamms.checkpoint.tensor_file import read_header
from adamms.errors import AdammsError, check_pattern

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Where LLaVA's own training leaves what it trained beside LoRA: the projector, which a bare LM does not have.
BESIDE = "non_lora_trainables.bin"

# Settings that only describe the training, or that the adapter's tensors show themselves.
HARMLESS = (
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "bias", "lora_dropout", "target_modules", "exclude_modules", "modules_to_save"),
    *("layers_to_transform", "layers_pattern", "megatron_core", "ensure_weight_tying", "runtime_config"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"),
    *("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "init_lora_weights"),
)
# Ways to start that leave the base's weights as they are.
INITIAL = (None, True, False, "gaussian", "eva", "orthogonal")

# The part of a tensor that stands in the place of the base's.
WHOLE = "whole"
PREFIX = "base_model.model."
# In a pattern for modules; with more of them a match may take time without bounds.
MOST_REPETITIONS = 3
_PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_(?:embedding_)?[AB]|lora_magnitude_vector)(?:\.default)?(?:\.weight)?"
)


def is_adapter(path: Path) -> bool:
    """Whether `path` is the folder of an adapter.

    Raises:
        AdammsError: it holds a whole model, too.
    """
    if not (path / ADAPTER_CONFIG).is_file():
        return False
    if has_weights(path):
        raise AdammsError(
            f"{path}: holds both a model and {ADAPTER_CONFIG}; give path=MODEL adapter=ADAPTER, two folders"
        )
    return True


def declared_base(folder: Path) -> tuple[str, str | None]:
    """(path or hub id, revision) of the base that the adapter in `folder` was trained on."""
    config = read_json(folder / ADAPTER_CONFIG)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base:
        raise AdammsError(
            f"{folder / ADAPTER_CONFIG}: names no base (base_model_name_or_path); give path=BASE "
            f"adapter={folder}"
        )
    return base, revision if isinstance(revision, str) and not Path(base).expanduser().exists() else None


def open_adapter(base: Checkpoint, folder: Path) -> AdaptedCheckpoint:
    """`base` under the adapter in `folder`; reads headers only.

    Raises:
        AdammsError: no adapter, one that is no LoRA or uses settings whose effect on the weights is not
            known here, a tensor of it that fits none of the base's, or two that fit the same, or LoRA on a
            head that is the embeddings' table.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise AdammsError(f"{folder}: no {ADAPTER_CONFIG}; expected the folder of a PEFT adapter")
    settings = _settings(folder / ADAPTER_CONFIG)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise AdammsError(f"{folder}: no weights; expected {' or '.join(WEIGHTS)}")
    tensors = dict(base.tensors)
    tied = tied_tables(base)
    if tied is not None:
        tensors.setdefault(tied.head, replace(tensors[tied.embeddings], name=tied.head))
    stored = StoredModules(tensors, str(base.folder))
    changes: dict[str, Change] = {}
    try:
        for key, parts in _grouped(weights).items():
            name = stored.find(key)
            if name in changes:
                raise AdammsError(f"{key!r} and another tensor are both {name!r} of {base.folder}")
            changes[name] = _change(parts, key.removesuffix(".weight"), tensors[name], settings)
        settled = settle(base, tied, changes)
    except AdammsError as error:
        raise AdammsError(f"{weights}: {error}") from error
    changes = dict(settled.changes)
    if tied is not None and not settled.untied and tied.head not in base.tensors:
        del tensors[tied.head]
    for name, change in changes.items():
        tensors[name] = replace(tensors[name], shape=change.base.shape)
    for name, entry in _beside(folder).items():
        if name in changes:
            raise AdammsError(f"{folder}: {WEIGHTS[0]} and {BESIDE} both have {name!r}")
        own = tensors.get(name, entry)
        if own.shape != entry.shape:
            raise AdammsError(
                f"{folder / BESIDE}: {name} has shape {list(entry.shape)}, the base's {list(own.shape)}"
            )
        changes[name] = Change(entry)
        tensors[name] = replace(own, name=name)
    ordered = dict(sorted(tensors.items()))
    untied, note = settled.untied, settled.note
    config = untied_config(base.config) if untied else base.config
    return AdaptedCheckpoint(base.folder, ordered, config, base, folder, changes, untied, note)


def _beside(folder: Path) -> dict[str, TensorEntry]:
    """Whole tensors that LLaVA's training left beside the adapter, under their names in the checkpoint."""
    file = folder / BESIDE
    found = read_header(file) if file.is_file() else {}
    plain = {name.removeprefix("base_model."): entry for name, entry in found.items()}
    nested = any(name.startswith("model.model.") for name in plain)
    return {name.removeprefix("model.") if nested else name: entry for name, entry in plain.items()}


class _Settings(BaseModel):
    """What of adapter_config.json decides the values."""

    model_config = ConfigDict(strict=True, frozen=True)

    r: PositiveInt
    lora_alpha: PositiveFloat
    rank_pattern: dict[str, PositiveInt] | None = None
    alpha_pattern: dict[str, PositiveFloat] | None = None
    use_rslora: bool | None = None

    def scale(self, module: str, rank: int) -> float:
        """Of the module whose lora_A has `rank` rows."""
        expected = _by_pattern(self.rank_pattern or {}, module, self.r)
        if rank != expected:
            raise AdammsError(f"{module}: lora_A has rank {rank}, {ADAPTER_CONFIG} says {expected}")
        alpha = _by_pattern(self.alpha_pattern or {}, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _settings(file: Path) -> _Settings:
    config = read_json(file)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdammsError(f"{file}: peft_type is {kind!r}; expected 'LORA'")
    for key, value in config.items():
        if value and key not in HARMLESS:
            raise AdammsError(
                f"{file}: {key}={value!r} changes the weights in a way that adamms does not compute; "
                f"materialise the adapter with PEFT (merge_and_unload) and give the result as the model"
            )
    if config.get("init_lora_weights") not in INITIAL:
        raise AdammsError(
            f"{file}: init_lora_weights={config['init_lora_weights']!r} changed the base's weights before "
            f"training; save the adapter with path_initial_model_for_weight_conversion"
        )
    try:
        settings = _Settings.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise AdammsError(f"{file}: {where} is {first['input']!r}: {first['msg']}") from error
    for pattern in (*(settings.rank_pattern or {}), *(settings.alpha_pattern or {})):
        check_pattern(f"{file}: {pattern!r}", pattern)
        if re.search(r"\)[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > MOST_REPETITIONS:
            raise AdammsError(
                f"{file}: {pattern[:80]!r} repeats too much to be matched in bounded time; materialise the "
                f"adapter with PEFT (merge_and_unload) and give the result as the model"
            )
    return settings


def _by_pattern(patterns: Mapping[str, float], module: str, default: float) -> float:
    """PEFT's rule: the first key that matches the end of the module's path, from a dot on."""
    return next((v for key, v in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _grouped(weights: Path) -> dict[str, dict[str, TensorEntry]]:
    """Tensor of the base, in the adapter's words -> what the file has for it, by the part's name."""
    found: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in sorted(read_header(weights).items()):
        if not name.startswith(PREFIX):
            raise AdammsError(f"{weights}: unknown tensor {name!r}; expected names that begin with {PREFIX}")
        rest = name.removeprefix(PREFIX)
        match = _PART.fullmatch(rest)
        if match is not None:
            tensor, part = f"{match['module']}.weight", match["part"]
        elif not rest.endswith((".weight", ".bias")) or ".lora_" in rest:
            raise AdammsError(
                f"{weights}: the tensor {name!r} has no meaning here; expected lora_A and lora_B, "
                f"lora_embedding_A and _B, lora_magnitude_vector, or whole weights and biases"
            )
        else:
            plain = rest.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            tensor, part = re.sub(r"\.default\.(?=\w+$)", ".", plain), WHOLE
        parts = found.setdefault(tensor, {})
        if part in parts:
            raise AdammsError(f"{weights}: {name!r} is there twice, as {parts[part].name!r}, too")
        parts[part] = entry
    if not found:
        raise AdammsError(f"{weights}: holds no tensors")
    return found


def _change(
    parts: Mapping[str, TensorEntry], module: str, stored: TensorEntry, settings: _Settings
) -> Change:
    """What `parts` make of the base's tensor `stored`, shapes checked."""
    if stored.dtype not in MERGEABLE:
        raise AdammsError(f"{stored.name} has dtype {stored.dtype}; expected one of {', '.join(MERGEABLE)}")
    base = parts.get(WHOLE, stored)
    # Tokens may have been added to an embedding, which then comes as a whole.
    if len(base.shape) != len(stored.shape) or base.shape[1:] != stored.shape[1:]:
        raise AdammsError(
            f"{base.name} has shape {list(base.shape)}; the base's {stored.name} has {list(stored.shape)}"
        )
    if parts.keys() <= {WHOLE}:
        return Change(base)
    shape, magnitude = base.shape, parts.get("lora_magnitude_vector")
    embedding = any("embedding" in part for part in parts)
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
    extra = sorted(parts.keys() - {*names, "lora_magnitude_vector", WHOLE})
    missing = [name for name in names if name not in parts]
    if extra or missing:
        problem = f"{extra[0]} beside {names[0]}" if extra else f"no {missing[0]}"
        raise AdammsError(f"{module}: {problem}; expected {names[0]} and {names[1]}")
    if embedding and magnitude is not None:
        raise AdammsError(f"{module}: DoRA on an embedding is not supported")
    down, up = (parts[name] for name in names)
    rank = down.shape[0] if down.shape else 0
    sides = (shape[1:], shape[:1]) if embedding else (shape[:1], shape[1:])
    expected = {names[0]: (rank, *sides[1]), names[1]: (*sides[0], rank)}
    if magnitude is not None:
        expected["lora_magnitude_vector"] = shape[:1]
    for name, wanted in expected.items():
        found = parts[name].shape
        flat = tuple(size for size in found if size != 1) if name == "lora_magnitude_vector" else found
        if len(shape) != 2 or flat != wanted:
            raise AdammsError(
                f"{parts[name].name} has shape {list(found)}; {stored.name} of shape {list(shape)} needs "
                f"{list(wanted) if len(shape) == 2 else 'a matrix'}"
            )
    return Change(base, LowRank(down, up, settings.scale(module, rank), embedding, magnitude))
