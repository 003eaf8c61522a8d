"""Makers of real LoRA adapters, as PEFT saves them, and their values by arithmetic of its own.

`materialised` is NumPy float64, written from the formulas and from how PEFT names its tensors; it shares
nothing with adamms.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tiny
import torch
from safetensors.torch import load_file, save_file

Array = npt.NDArray[np.float64]


def save_adapter(
    base: Path,
    folder: Path,
    seed: int = 0,
    spread: float = 0.05,
    merged: Path | None = None,
    **settings: Any,
) -> tiny.State:
    """Put LoRA of these settings on the model in `base`, fill it with noise, save it, and merge it by PEFT.

    PEFT's merged model is saved by transformers in `merged`.

    Returns:
        The parameters of PEFT's own merged model, under transformers' names.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    torch.manual_seed(seed)
    visual = hasattr(AutoConfig.from_pretrained(base), "vision_config")
    kind = AutoModelForImageTextToText if visual else AutoModelForCausalLM
    model = get_peft_model(kind.from_pretrained(base, dtype="auto"), LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(spread * torch.randn(parameter.shape).to(parameter.dtype))
                if "magnitude" in name:  # norms are positive
                    parameter.abs_()
    # PEFT does so by itself, too, where a table of embeddings is adapted, but warns.
    whole = any("embed_tokens" in module or "lm_head" in module for module in settings["target_modules"])
    model.save_pretrained(folder, save_embedding_layers=whole)
    whole_model = model.merge_and_unload()
    if merged is not None:
        whole_model.save_pretrained(merged)
    return {name: tensor.clone() for name, tensor in whole_model.state_dict().items()}


def write_adapter(folder: Path, state: tiny.State, **settings: object) -> Path:
    """An adapter without PEFT: tensors under the names that it gives them, and its settings' essence."""
    folder.mkdir()
    config = {"peft_type": "LORA", "alpha_pattern": {}, "use_rslora": False, "use_dora": False, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "adapter_model.safetensors")
    return folder


def materialised(
    base: tiny.State, adapter: Path, stored: Callable[[str], str] = lambda name: name
) -> dict[str, Array]:
    """Every tensor of the base with the adapter in it, before any rounding.

    Args:
        base: the base's stored tensors.
        adapter: the folder that `save_adapter` wrote.
        stored: transformers' name of a parameter -> the stored one.
    """
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor.double().numpy()
        for name, tensor in load_file(adapter / "adapter_model.safetensors").items()
    }
    values = {name: tensor.double().numpy() for name, tensor in base.items()}
    values |= {stored(name): tensor for name, tensor in tensors.items() if "lora_" not in name}
    for name, a in tensors.items():
        match = re.fullmatch(r"(.*)\.lora_(embedding_)?A(\.weight)?", name)
        if match is None:
            continue
        module, embedding = match[1], bool(match[2])
        b = tensors[f"{module}.lora_{'embedding_B' if embedding else 'B.weight'}"]
        alpha = next(
            (v for k, v in config["alpha_pattern"].items() if re.fullmatch(rf"(.*\.)?({k})", module)),
            config["lora_alpha"],
        )
        scale = alpha / (math.sqrt(len(a)) if config["use_rslora"] else len(a))
        weight = stored(f"{module}.weight")
        values[weight] = values[weight] + scale * ((b @ a).T if embedding else b @ a)
        if config["use_dora"]:
            norms = np.sqrt((values[weight] ** 2).sum(1, keepdims=True))
            values[weight] = tensors[f"{module}.lora_magnitude_vector"][:, None] * values[weight] / norms
    return values


def rounded(values: dict[str, Array], like: tiny.State) -> tiny.State:
    """The values in the dtypes of `like`, converted once."""
    return {name: torch.from_numpy(values[name]).to(like[name].dtype) for name in like}


def write_materialised(
    base: Path, adapter: Path, folder: Path, stored: Callable[[str], str] = lambda name: name
) -> Path:
    """A copy of the folder `base` whose weights have the adapter in them."""
    state = load_file(base / "model.safetensors")
    folder.mkdir(parents=True)
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    save_file(
        rounded(materialised(state, adapter, stored), state),
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def qwen2_vl_names(name: str) -> str:
    """transformers' name of a Qwen2-VL parameter -> the published one."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def onevision_names(name: str) -> str:
    """The same for LLaVA-OneVision in Hugging Face's files, with or without the `vision_model.` level."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    return name.removeprefix("model.").replace("language_model.", "language_model.model.")
