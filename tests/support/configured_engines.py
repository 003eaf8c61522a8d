"""Engines with the settings of conf/engine, and what a test sets otherwise."""

from pathlib import Path
from typing import Any

from configured import configured

from adamms.engines.base import PromptFiles
from adamms.engines.transformers.engine import TransformersEngine
from adamms.engines.vllm.engine import VllmEngine

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
