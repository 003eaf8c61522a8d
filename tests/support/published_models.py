"""Tiny checkpoints in the formats of the published models that the docs name, as repositories of a hub.

Their sizes are small and their weights random: real are their names, their layouts and how they merge.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import native_models as native
import paper_models
import recent_formats
import tiny
from families import RECENT, Family, save_family, save_language
from family_models import internvl_hf_qwen3
from remote_formats import internvl_qwen2
from tiny_types import relayout_experts, save_tiny

Make = Callable[[Path], object]


def _moe(folder: Path) -> None:
    save_tiny("qwen3_vl_moe", folder)
    relayout_experts(folder, fused=True, transposed=True)


def _onevision(folder: Path) -> None:
    tiny.as_original(tiny.save_onevision(folder.with_name(folder.name + "-fresh"), 2), folder)


def _vicuna(folder: Path) -> None:
    paper_models.save_llama(folder, 3)
    native.save_tokenizer(folder)  # which CogVLM takes


def _family(name: str) -> Make:
    return lambda folder: save_family(name, folder, seed=1)


def _language(kind: str) -> Make:
    return lambda folder: save_language(kind, folder, seed=2)


def _type(kind: str) -> Make:
    return lambda folder: save_tiny(kind, folder, noise=1)


# The first that an id matches makes it.
MAKERS: dict[str, Make] = {
    "Qwen3-VL-30B": _moe,
    "Qwen3-(Coder-)?30B": _type("qwen3_moe"),
    "Qwen3-VL": _family("qwen3_vl"),
    "Qwen3-|R1-0528": _language("qwen3"),
    "InternVL3_5-8B-HF": _family("internvl_hf_qwen3"),
    "InternVL3_5-8B": _family("internvl_qwen3"),
    "MiniCPM-V-4_5": _family("minicpm_v_4_5"),
    "Qwen2-VL": lambda folder: tiny.save_qwen2_vl(folder, 1),
    "llava-onevision-qwen2-7b-ov": _onevision,
    "Qwen2-7B": lambda folder: tiny.save_qwen2(folder, 3),
    "Qwen2.5-VL": _type("qwen2_5_vl"),
    "Qwen2.5-Omni": _type("qwen2_5_omni"),
    "Qwen2.5|HuatuoGPT": _type("qwen2"),
    "gemma": _family("gemma3"),
    "Idefics3": _family("idefics3"),
    "llama3-llava-next": _family("llava_next_llama"),
    "GLM-4.1V": _type("glm4v"),
    "GLM-": _type("glm4"),
    "Mistral-Small": _type("mistral3"),
    "Magistral": _type("mistral"),
    "Kimi-VL": _family("kimi_vl"),
    "Moonlight": _language("deepseek_v3"),
    "llava-1.5-7b-hf": lambda folder: paper_models.save_llava_hf(folder, 1),
    "vicuna": _vicuna,
    "cogvlm": lambda folder: native.save_cogvlm(folder, seed=1),
    "llava-v1.5": lambda folder: native.save_llava(folder, seed=2),
    "Llama-2": lambda folder: tiny.save_llama(folder, 3, num_key_value_heads=tiny.HEADS),
    "[Ll]lama": _language("llama"),
}
RECENT["internvl_hf_qwen3"] = Family("qwen3", internvl_hf_qwen3)
RECENT["internvl_qwen3"] = Family(
    "qwen3", replace(internvl_qwen2, config=internvl_qwen2.config | {"llm_config": recent_formats.QWEN3})
)


def publish(root: Path, name: str) -> None:
    """Put a model of this id into the hub of these folders, if one is known and it is not there."""
    makers = [make for pattern, make in MAKERS.items() if re.search(pattern, name)]
    if makers and not (root / name).exists():
        makers[0](root / name)


def stand_in(
    folder: str, stages: str, seed: int, regime: object = None, pair: str = "", effort: float = 1.0
) -> None:
    """For `model.prepare._target_`: the models in $STAND_IN, in the place of some that would be trained."""
    if not Path(folder).exists():
        shutil.copytree(os.environ["STAND_IN"], folder)
