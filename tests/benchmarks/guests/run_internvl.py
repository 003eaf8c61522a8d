"""InternVL 2 / 2.5 / 3 in OpenGVLab's own code: InternVLChatModel, around InternLM2 or Qwen2."""

from pathlib import Path
from typing import Any

import torch
from serving import Guest, noise, serve
from tokenizers import Tokenizer

SIDE = 32
TEXT = "largest digit of the red"


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    from internvl.model.internvl_chat import InternVLChatModel

    model, info = InternVLChatModel.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True
    )
    model.words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model.img_context_token_id = model.words.token_to_id("<IMG_CONTEXT>")
    return model, info


def text(model: Any, ids: torch.Tensor, settings: dict[str, Any]) -> Any:
    return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)


def image(model: Any, number: int, settings: dict[str, Any]) -> Any:
    """As many tiles as the image's number says, each with its tokens in the prompt, as chat() writes it."""
    tiles = noise(number, number + 1, 3, SIDE, SIDE)
    marks = " ".join(["<IMG_CONTEXT>"] * model.num_image_token * len(tiles))
    prompt = f"user <img> {marks} </img> {TEXT} assistant"
    ids = torch.tensor([model.words.encode(prompt, add_special_tokens=False).ids])
    return model.generate(pixel_values=tiles, input_ids=ids, attention_mask=torch.ones_like(ids), **settings)


if __name__ == "__main__":
    serve(Guest(load, text, image))
