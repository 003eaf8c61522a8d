"""Cambrian-1 in its own code: CambrianLlamaForCausalLM with its spatial vision aggregator and two towers."""

from pathlib import Path
from typing import Any

import torch
from serving import Guest, noise, serve

SIDE = 64
TOWERS = {"openai/clip-a": 32, "openai/clip-b": 48}  # name -> width
# The aggregator: 4 queries before the language model, and two layers of it inside.
AGGREGATOR = {
    "mm_vision_tower_aux_list": list(TOWERS),
    "mm_vision_tower_aux_token_len_list": [16, 16],
    **{"mm_projector_type": "sva", "vision_hidden_size": 64, "num_query_group": 1, "query_num_list": [4]},
    **{"connector_only": False, "connector_depth": 2, "image_token_len": 4, "image_position": 3},
    **{"num_of_vision_sampler_layers": 2, "start_of_vision_sampler_layers": 0},
    **{"stride_of_vision_sampler_layers": 2, "mm_hidden_size": 64},
    **{"mm_vision_select_layer": -2, "mm_vision_select_feature": "patch"},
}


def prepare(folder: Path) -> None:
    """The towers, which Cambrian's checkpoints lack, and the target, of the sizes in `language.json`."""
    import json

    from cambrian.model.language_model.cambrian_llama import CambrianConfig, CambrianLlamaForCausalLM

    for name, width in TOWERS.items():
        _save_tower(folder / name, width)
    language = json.loads((folder / "language.json").read_text())
    torch.manual_seed(1)
    model = CambrianLlamaForCausalLM(CambrianConfig(**language, **AGGREGATOR))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:  # norms and biases are otherwise all ones and zeros
            parameter.data.add_(torch.randn(parameter.shape) * 0.1)
        if "image_newline" in name:
            parameter.data.copy_(torch.randn(parameter.shape))
    model.save_pretrained(folder / "target")


def _save_tower(folder: Path, width: int) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(width)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        projection_dim=width,
    )
    CLIPVisionModel(config).save_pretrained(folder)
    crop = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop).save_pretrained(folder)


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    from cambrian.model.language_model.cambrian_llama import CambrianLlamaForCausalLM

    model, info = CambrianLlamaForCausalLM.from_pretrained(folder, output_loading_info=True)
    for tower in model.get_vision_tower_aux_list():
        tower.load_model()
    return model, info


def text(model: Any, ids: torch.Tensor, settings: dict[str, Any]) -> Any:
    return model.generate(ids, **settings)


def image(model: Any, number: int, settings: dict[str, Any]) -> Any:
    from cambrian.constants import IMAGE_TOKEN_INDEX

    ids = torch.tensor([[1, 5, 9, IMAGE_TOKEN_INDEX, 17, 30]])
    pixels = [noise(number * len(TOWERS) + i, 1, 3, SIDE, SIDE) for i in range(len(TOWERS))]
    return model.generate(
        ids, images=pixels, image_sizes=[(SIDE, SIDE)], attention_mask=None, use_cache=True, **settings
    )


if __name__ == "__main__":
    serve(Guest(load, text, image, prepare))
