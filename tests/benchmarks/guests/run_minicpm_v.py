"""MiniCPM-V 2.6 in its published folder's code: MiniCPMV, its NaViT SigLIP and its resampler."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from serving import Guest, noise, serve

PATCH = 14
GRID = (3, 3)
WORDS = [20, 11, 23]


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    from transformers import PreTrainedTokenizerFast

    model, info = _published().from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True)
    model.words = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model.terminators = ["</s>"]  # what ends an answer in the tiny tokenizer; else <|im_end|>
    return model, info


def _published() -> Any:
    """The class: its files import one another as parts of a package, which the hub's folder becomes."""
    torch.nn.functional.List = list  # resampler.py's annotations take it from there, as it was in torch 2.1
    package = ModuleType("published_minicpm_v")
    package.__path__ = [sys.path[0]]
    sys.modules[package.__name__] = package
    return import_module(f"{package.__name__}.modeling_minicpmv").MiniCPMV


def text(model: Any, ids: torch.Tensor, settings: dict[str, Any]) -> Any:
    return _generate(model, ids, [], [], [], settings)


def image(model: Any, number: int, settings: dict[str, Any]) -> Any:
    """One slice of 3 x 3 patches along one row, as the published processor lays them."""
    start, end, unknown = (model.words.convert_tokens_to_ids(w) for w in ("<image>", "</image>", "<unk>"))
    queries = [unknown] * model.config.query_num
    ids = torch.tensor([[WORDS[0], start, *queries, end, *WORDS[1:]]])
    pixels = noise(number, 3, PATCH, PATCH * GRID[0] * GRID[1])
    return _generate(
        model,
        ids,
        [pixels],
        [torch.tensor([GRID], dtype=torch.int32)],
        torch.tensor([[2, 2 + len(queries)]]),
        settings,
    )


def _generate(model: Any, ids: Any, pixels: Any, sizes: Any, bound: Any, settings: dict[str, Any]) -> Any:
    return model.generate(
        input_ids=ids,
        pixel_values=[pixels],
        tgt_sizes=sizes,
        image_bound=[bound],
        attention_mask=torch.ones_like(ids),
        tokenizer=model.words,
        **settings,
    )


if __name__ == "__main__":
    serve(Guest(load, text, image))
