"""LLaVA-OneVision-1.5 in its authors' code: a RICE encoder, and Qwen3 under their own class names."""

from pathlib import Path
from typing import Any

import torch
from serving import Guest, noise, serve

IMAGE, PATCH = 3, 14
GRID = (1, 2, 4)  # frames, rows and columns of patches


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    from llavaonevision1_5.modeling_llavaonevision1_5 import LLaVAOneVision1_5_ForConditionalGeneration

    return LLaVAOneVision1_5_ForConditionalGeneration.from_pretrained(
        folder, torch_dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
    )


def text(model: Any, ids: torch.Tensor, settings: dict[str, Any]) -> Any:
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
    output.sequences = output.sequences[:, ids.shape[1] :]
    return output


def image(model: Any, number: int, settings: dict[str, Any]) -> Any:
    """Eight patches, which become two tokens."""
    pixels = {"pixel_values": noise(number, 8, 3 * PATCH**2), "image_grid_thw": torch.tensor([GRID])}
    return text(model, torch.tensor([[5, 9, IMAGE, IMAGE, 17, 30]]), settings | pixels)


if __name__ == "__main__":
    serve(Guest(load, text, image))
