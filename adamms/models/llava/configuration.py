"""The original LLaVA's configuration: Llama's config.json with fields for the image side, as published."""

from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig

from adamms.errors import AdammsError, check_choice

PROJECTORS = ("mlp2x_gelu", "mlp2x_gelu_Norm")


@strict
class LlavaLlamaConfig(LlamaConfig):
    """config.json of liuhaotian/llava-v1.5-*, of ShareGPT4V and of Yi-VL.

    Args:
        mm_vision_tower: CLIP's ViT, which is not in the checkpoint: a hub id, or a folder inside its folder.
        mm_projector_type: two linear layers; with `_Norm` (Yi-VL) a LayerNorm follows each.
        mm_hidden_size: width of the tower's features.
        mm_vision_select_layer: which of the tower's hidden states are the features.
        image_aspect_ratio: `pad` pads images to squares; otherwise CLIP's processing crops them.

    Raises:
        AdammsError: the config.json of another generation: several tiles (LLaVA-1.6) or a linear projector.
    """

    model_type = "llava_llama"

    mm_vision_tower: str | None = None
    mm_projector_type: str = "mlp2x_gelu"
    mm_hidden_size: int = 1024
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: str = "patch"
    image_aspect_ratio: str | None = "pad"

    def __post_init__(self, **kwargs: Any) -> None:
        check_choice("config.json: mm_projector_type", self.mm_projector_type, PROJECTORS)
        check_choice("config.json: mm_vision_select_feature", self.mm_vision_select_feature, ("patch",))
        if self.image_aspect_ratio == "anyres":
            raise AdammsError(
                "config.json: image_aspect_ratio is anyres: LLaVA-1.6, which is not implemented; take its "
                "conversion, e.g. llava-hf/llava-v1.6-vicuna-7b-hf"
            )
        super().__post_init__(**kwargs)

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields as published without `model_type`: their `llava` is another class in transformers."""
        fields, rest = super().get_config_dict(*args, **kwargs)
        return {name: value for name, value in fields.items() if name != "model_type"}, rest

    def tower(self, folder: Path) -> str:
        """The folder or hub id of the vision tower, for a checkpoint in `folder`.

        Raises:
            AdammsError: config.json names none.
        """
        if self.mm_vision_tower is None:
            raise AdammsError(f"{folder}: config.json names no mm_vision_tower, which reads the images")
        inside = folder / self.mm_vision_tower
        return str(inside) if inside.is_dir() else self.mm_vision_tower
