"""Engines with the settings of conf/engine, and what a test sets otherwise."""

from pathlib import Path
from typing import Any

import yaml

from adamms.engines.base import PromptFiles
from adamms.engines.logs.replay import Replay
from adamms.engines.transformers.engine import Transformers, TransformersEngine
from adamms.engines.vllm.engine import Vllm, VllmEngine

CONF = Path(__file__).resolve().parents[2] / "conf/engine"
# What conf/engine reads of other groups, and what it is there by default.
ELSEWHERE = {"${search.logprobs}": 0, "${verbose}": False}


def settings_of(name: str, **own: Any) -> dict[str, Any]:
    """The values in conf/engine/NAME.yaml, with `own` in place of some."""
    written = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    written.pop("_target_")
    return {key: ELSEWHERE.get(str(value), value) for key, value in written.items()} | own


def transformers_engine(folder: Path, files: PromptFiles | None = None, **own: Any) -> TransformersEngine:
    return Transformers(**settings_of("transformers", **own)).live(folder, files)


def vllm_engine(folder: Path, **own: Any) -> VllmEngine:
    return Vllm(**settings_of("vllm", **own)).live(folder)


def replay(**own: Any) -> Replay:
    return Replay(**settings_of("replay", **own))
