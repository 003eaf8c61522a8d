"""Tiny checkpoints of the model families beyond the paper's: built by transformers, or renamed by hand."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import family_models as models
import recent_formats
import remote_formats
import torch
from remote_formats import RemoteFormat
from safetensors.torch import load_file
from tiny import write_state


@dataclass(frozen=True)
class Family:
    """One family of models, tiny.

    Args:
        language: the language model in it, a key of family_models.LANGUAGE.
        source: makes the model in transformers, or renames its language model.
    """

    language: str
    source: Callable[[], Any] | RemoteFormat


FAMILIES = {
    "qwen2_5_vl": Family("qwen2", models.qwen2_5_vl),
    "qwen3_vl": Family("qwen3", models.qwen3_vl),
    "llava_next_llama": Family("llama", models.llava_next_llama),
    "llava_next_mistral": Family("mistral", models.llava_next_mistral),
    "internvl_hf": Family("qwen2", models.internvl_hf),
    "gemma3": Family("gemma3_text", models.gemma3),
    "idefics3": Family("llama", models.idefics3),
    "smolvlm": Family("llama", models.smolvlm),
    "mllama": Family("llama", models.mllama),
    "internlm2": Family("llama", remote_formats.internlm2),
    "internvl_internlm2": Family("llama", remote_formats.internvl_internlm2),
    "internvl_qwen2": Family("qwen2", remote_formats.internvl_qwen2),
    "minicpm_v": Family("qwen2", remote_formats.minicpm_v),
    "phi3_v": Family("phi3", remote_formats.phi3_v),
}
REMOTE = [name for name, family in FAMILIES.items() if isinstance(family.source, RemoteFormat)]
BUILT = [name for name in FAMILIES if name not in REMOTE]
# Formats of remote code whose language model needs no translation that one of REMOTE does not show already.
RECENT = {
    "minicpm_v_4_5": Family("qwen3", remote_formats.minicpm_v_4_5),
    "keye_vl": Family("qwen3", recent_formats.keye_vl),
    "ovis_2_5": Family("qwen3", recent_formats.ovis_2_5),
    "llava_onevision_1_5": Family("qwen3", recent_formats.llava_onevision_1_5),
    "llava_onevision_2": Family("qwen3", recent_formats.llava_onevision_2),
    "molmo2": Family("qwen3", recent_formats.molmo2),
    "internvl_qwen3_moe": Family("qwen3_moe", recent_formats.internvl_qwen3_moe),
    "kimi_vl": Family("deepseek_v3", recent_formats.kimi_vl),
    "deepseek_vl2": Family("deepseek_v3", recent_formats.deepseek_vl2),
    "deepseek_vl2_tiny": Family("glm4_moe", recent_formats.deepseek_vl2_tiny),
}
# Merged but for the rows of its actions.
OPENVLA = {"openvla": Family("llama_of_openvla", recent_formats.openvla)}


def save_language(kind: str, folder: Path, seed: int = 0) -> Path:
    """A tiny language model of one of the kinds in family_models.LANGUAGE."""
    return save_model(models.LANGUAGE[kind], folder, seed)


def save_family(name: str, folder: Path, seed: int = 0) -> Path:
    """A tiny model of one of FAMILIES, RECENT or OPENVLA."""
    family = (FAMILIES | RECENT | OPENVLA)[name]
    if not isinstance(family.source, RemoteFormat):
        return save_model(family.source, folder, seed)
    plain = save_language(family.language, folder.with_name(f"{folder.name}-plain"), seed)
    write_state(family.source.renamed(load_file(plain / "model.safetensors")), folder)
    (folder / "config.json").write_text(json.dumps(family.source.config))
    return folder


def save_model(build: Callable[[], Any], folder: Path, seed: int) -> Path:
    """What `build` makes, drawn from `seed`."""
    torch.manual_seed(seed)
    model = build()
    with torch.no_grad():  # norms and biases are otherwise all ones and zeros
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    return folder
