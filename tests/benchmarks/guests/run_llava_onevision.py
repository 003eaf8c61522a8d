"""LLaVA-OneVision in LLaVA-NeXT's own code: LlavaQwenForCausalLM, images of several tiles (anyres)."""

import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from serving import Guest, noise, serve

TOWER = "google/siglip-so400m-patch14-384"
VISION = {
    **{"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2},
    **{"image_size": 384, "patch_size": 14, "num_hidden_layers": 2},  # the published class drops the last
}
TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 1}
SIZES = ((384, 384), (600, 300), (90, 700))


def prepare(folder: Path) -> None:
    """A tower that the published class finds where it looks: in the hub's cache, under its own name."""
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(77)
    model = SiglipModel(SiglipConfig(text_config=TEXT | {"vocab_size": 32}, vision_config=VISION))
    cache = Path(os.environ["HF_HUB_CACHE"]) / f"models--{TOWER.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text("0" * 40)
    model.save_pretrained(cache / "snapshots" / ("0" * 40))


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    from llava.model.language_model.llava_qwen import LlavaQwenForCausalLM

    return LlavaQwenForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
    )


def text(model: Any, ids: torch.Tensor, settings: dict[str, Any]) -> Any:
    return model.generate(ids, **settings)


def image(model: Any, number: int, settings: dict[str, Any]) -> Any:
    from llava.constants import IMAGE_TOKEN_INDEX
    from llava.mm_utils import process_images

    width, height = SIZES[number]
    raw = (noise(number, height, width, 3).clamp(-2, 2) * 63 + 127).to(torch.uint8)
    picture = Image.fromarray(raw.numpy())
    tiles = process_images([picture], model.get_vision_tower().image_processor, model.config)
    ids = torch.tensor([[5, 9, IMAGE_TOKEN_INDEX, 17, 30]])
    return model.generate(
        ids, images=[tile.to(model.dtype) for tile in tiles], image_sizes=[picture.size], **settings
    )


if __name__ == "__main__":
    serve(Guest(load, text, image, prepare))
