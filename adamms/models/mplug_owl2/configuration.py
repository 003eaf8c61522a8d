"""mPLUG-Owl2's configuration: its config.json as published, one section per part of the model."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig, PreTrainedConfig

from adamms.errors import AdammsError


@strict
class MPLUGOwl2VisionConfig(PreTrainedConfig):
    """`visual_config.visual_model`: the ViT-L/14 of 448 x 448 pixels, 32 x 32 patches and a class token.

    Raises:
        AdammsError: a variant of the later Qwen-based mPLUG-Owl2.1, which is another model.
    """

    model_type = "mplug_owl_vision_model"
    base_config_key = "visual_model"

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 448
    patch_size: int = 14
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    use_post_layernorm: bool = True
    use_cls_token: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        _only(self, "visual_model", use_post_layernorm=True, use_cls_token=True)
        super().__post_init__(**kwargs)


@strict
class MPLUGOwl2AbstractorConfig(PreTrainedConfig):
    """`visual_config.visual_abstractor`: the learned queries that read the image's tokens.

    Raises:
        AdammsError: a variant of the later Qwen-based mPLUG-Owl2.1, which is another model.
    """

    model_type = "mplug_owl_visual_abstract"
    base_config_key = "visual_abstractor"

    num_learnable_queries: int = 64
    hidden_size: int = 1024
    encoder_hidden_size: int = 1024
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    intermediate_size: int = 2816
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    attention_probs_dropout_prob: float = 0.0
    grid_size: int = 32
    add_v2t_pos_emb: bool = False
    use_cls_token: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        _only(self, "visual_abstractor", add_v2t_pos_emb=False, use_cls_token=True)
        if self.hidden_size != self.encoder_hidden_size:
            raise AdammsError(
                f"visual_config.visual_abstractor: hidden_size {self.hidden_size} and encoder_hidden_size "
                f"{self.encoder_hidden_size} differ; its keys are of queries and image tokens together"
            )
        super().__post_init__(**kwargs)


@strict
class MPLUGOwl2VisualConfig(PreTrainedConfig):
    """`visual_config`: the two sections of the image side."""

    model_type = "mplug_owl2_visual"
    base_config_key = "visual_config"

    visual_model: dict[str, Any] | PreTrainedConfig | None = None
    visual_abstractor: dict[str, Any] | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.visual_model = _section(self.visual_model, MPLUGOwl2VisionConfig)
        self.visual_abstractor = _section(self.visual_abstractor, MPLUGOwl2AbstractorConfig)
        super().__post_init__(**kwargs)


@strict
class MPLUGOwl2Config(LlamaConfig):
    """mPLUG-Owl2's config.json: Llama's fields for the language model, and `visual_config`.

    Source: the class defaults of X-PLUG/mPLUG-Owl, mPLUG-Owl2/mplug_owl2/model/configuration_mplug_owl2.py,
    which are the published checkpoint's values (rms_norm_eps 1e-6 and 2048 positions, unlike Llama-2's).
    """

    model_type = "mplug_owl2"
    # The parts that are models of their own.
    sub_configs = {  # noqa: RUF012
        "visual_model": MPLUGOwl2VisionConfig,
        "visual_abstractor": MPLUGOwl2AbstractorConfig,
    }

    visual_config: Any = None  # a dictionary becomes an MPLUGOwl2VisualConfig

    def __post_init__(self, **kwargs: Any) -> None:
        self.visual_config = _section(self.visual_config, MPLUGOwl2VisualConfig)
        super().__post_init__(**kwargs)

    @property
    def visual_model(self) -> MPLUGOwl2VisionConfig:
        return self.visual_config.visual_model

    @property
    def visual_abstractor(self) -> MPLUGOwl2AbstractorConfig:
        return self.visual_config.visual_abstractor

    @property
    def image_seq_length(self) -> int:
        """Embeddings per image: one per learned query, and `vit_eos`."""
        return self.visual_abstractor.num_learnable_queries + 1


def _section(section: Any, kind: type) -> Any:
    """A section of config.json as its config object, with published values where there is no section."""
    return section if isinstance(section, kind) else kind(**(section or {}))


def _only(config: Any, section: str, **expected: bool) -> None:
    for name, value in expected.items():
        if getattr(config, name) is not value:
            raise AdammsError(
                f"visual_config.{section}.{name} is {getattr(config, name)}; mPLUG-Owl2 has {value}, and no "
                f"other value is implemented"
            )
