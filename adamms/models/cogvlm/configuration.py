"""CogVLM's configuration: reads the published config.json as it is and forgets its remote code."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig, PreTrainedConfig


@strict
class CogVLMVisionConfig(PreTrainedConfig):
    """The vision encoder, EVA2-CLIP-E without its last layer: published names, and sizes as defaults."""

    model_type = "cogvlm_vision"
    base_config_key = "vision_config"
    attribute_map: ClassVar[dict[str, str]] = {"num_attention_heads": "num_heads"}

    hidden_size: int = 1792
    intermediate_size: int = 15360
    num_hidden_layers: int = 63
    num_heads: int = 16
    num_positions: int = 1226
    image_size: int = 490
    patch_size: int = 14
    in_channels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6

    @property
    def patches(self) -> int:
        """Image tokens of one image without the markers of its begin and end."""
        return (self.image_size // self.patch_size) ** 2


@strict
class CogVLMConfig(LlamaConfig):
    """Llama's fields for the language model, and the encoder's in `vision_config`.

    The published sizes are the defaults; those not named here are also Llama's. `auto_map` is dropped: the
    checkpoint's remote code is never run, and is not named in what is saved.

    Raises:
        ValueError: a CogVLM2. Its published class has the same name but other layers.
    """

    model_type = "cogvlm"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"vision_config": CogVLMVisionConfig}

    vision_config: Any = None  # a dictionary becomes a CogVLMVisionConfig
    template_version: str = "chat"
    pad_token_id: int | None = 0

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("auto_map", None)
        if "num_multi_query_heads" in kwargs:
            raise ValueError(
                "num_multi_query_heads: this is a CogVLM2, which shares only the name with CogVLM"
            )
        if not isinstance(self.vision_config, CogVLMVisionConfig):
            self.vision_config = CogVLMVisionConfig(**(self.vision_config or {}))
        super().__post_init__(**kwargs)
