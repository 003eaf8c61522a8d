"""Writes a PEFT LoRA adapter: matrices of low rank by the modules that they are added to, and whole tensors.

Every matrix gets the same rank, smaller ones zeros, and lora_alpha is that rank: the scale is 1 for every
reader, also one that knows no `rank_pattern`, as vLLM. Knows nothing of where they come from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from adamms.checkpoint.adapters.adapter import PREFIX, WEIGHTS
from adamms.checkpoint.reader import ADAPTER_CONFIG

WHOLE_BIAS = "bias"


@dataclass(frozen=True)
class Matrix:
    """up @ down, of shapes (out, r) and (r, in), for one module.

    Args:
        embedding: the module looks rows up in it.
    """

    up: torch.Tensor
    down: torch.Tensor
    embedding: bool = False

    @property
    def rank(self) -> int:
        return len(self.down)


def write_adapter(
    folder: Path,
    base: str,
    matrices: Mapping[str, Matrix],
    whole: Mapping[tuple[str, str], torch.Tensor],
    task: str,
) -> None:
    """Write adapter_config.json and adapter_model.safetensors into an existing folder.

    Args:
        base: hub id or folder of the model that it is for.
        matrices: module -> what is added to its weight; at least one.
        whole: (module, parameter) -> the tensor in its place.
        task: PEFT's name of what the model does, e.g. "CAUSAL_LM".
    """
    from safetensors.torch import save_file

    rank = max(matrix.rank for matrix in matrices.values())
    state: dict[str, torch.Tensor] = {}
    for module, matrix in matrices.items():
        down = torch.nn.functional.pad(matrix.down, (0, 0, 0, rank - matrix.rank))
        up = torch.nn.functional.pad(matrix.up, (0, rank - matrix.rank))
        if matrix.embedding:  # PEFT adds the transposed product
            state[f"{PREFIX}{module}.lora_embedding_A"] = up.T.contiguous()
            state[f"{PREFIX}{module}.lora_embedding_B"] = down.T.contiguous()
        else:
            state[f"{PREFIX}{module}.lora_A.weight"] = down.contiguous()
            state[f"{PREFIX}{module}.lora_B.weight"] = up.contiguous()
    biases = any(parameter == WHOLE_BIAS and module in matrices for module, parameter in whole)
    for (module, parameter), tensor in whole.items():
        inside = f"{module}.base_layer" if module in matrices else module
        state[f"{PREFIX}{inside}.{parameter}"] = tensor.contiguous()
    saved = sorted({module for module, _ in whole if module not in matrices})
    save_file(state, folder / WEIGHTS[0], metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted(matrices),
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": saved or None,
        "bias": "all" if biases else "none",
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
