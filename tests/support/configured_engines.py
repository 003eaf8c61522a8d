"""Engines with the settings of conf/engine, and what a test sets otherwise."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from configured import configured

from adamms.checkpoint.reader import open_checkpoint
from adamms.engines.base import PromptFiles
from adamms.engines.transformers.engine import TransformersEngine
from adamms.engines.vllm.engine import VllmEngine
from adamms.models.registration import load_model

# What conf/engine reads of other groups, as it is there by default.
ELSEWHERE: dict[str, dict[str, Any]] = {
    "transformers": {"logprobs": 0},
    "vllm": {"logprobs": 0, "verbose": False},
    "replay": {},
}


def settings_of(name: str, **own: Any) -> Any:
    """The engine of this name as a configuration makes it, with `own` in place of some values."""
    return configured(f"engine/{name}", **(ELSEWHERE[name] | own))


def transformers_engine(folder: Path, files: PromptFiles | None = None, **own: Any) -> TransformersEngine:
    engine: TransformersEngine = settings_of("transformers", **own).live(folder, files)
    return engine


def vllm_engine(folder: Path, **own: Any) -> VllmEngine:
    engine: VllmEngine = settings_of("vllm", **own).live(folder)
    return engine


def engine_without_processor(folder: Path) -> TransformersEngine:
    """It can load recipes, and answers nothing."""
    from adamms.engines.transformers.live_weights import LiveWeights  # takes seconds to import

    model = load_model(folder)
    stored = {name: entry.shape for name, entry in open_checkpoint(folder).tensors.items()}
    engine = transformers_engine(folder)
    engine.__dict__["live"] = SimpleNamespace(
        model=model, weights=LiveWeights(model, stored), device=torch.device("cpu")
    )
    return engine
