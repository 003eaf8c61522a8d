"""mPLUG-Owl2's vision encoder: a ViT-L/14. All its tokens, normed, go to the abstractor.

Source: X-PLUG/mPLUG-Owl, mPLUG-Owl2/mplug_owl2/model/visual_encoder.py. Knows no language model.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.models.clip.modeling_clip import CLIPMLP

from adamms.models.attention import Attention, Stack
from adamms.models.mplug_owl2.configuration import MPLUGOwl2VisionConfig


class ImageModel(PreTrainedModel):
    """A part of the image side with a configuration of its own."""

    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ImageModel | VisionEmbeddings):
            for parameter in module.parameters(recurse=False):
                init.normal_(parameter, mean=0.0, std=self.config.initializer_range)


class VisionModel(ImageModel):
    """Pixels (images, 3, height, width) to (images, 1 + patches, hidden), the class token first."""

    config: MPLUGOwl2VisionConfig

    def __init__(self, config: MPLUGOwl2VisionConfig) -> None:
        super().__init__(config)
        self.embeddings = VisionEmbeddings(config)
        self.encoder = Stack(VisionLayer(config) for _ in range(config.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.post_layernorm(self.encoder(self.embeddings(pixel_values)))


class VisionEmbeddings(nn.Module):
    """Patches and the class token with learned positions, normed before the first block."""

    def __init__(self, config: MPLUGOwl2VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        positions = (config.image_size // patch) ** 2 + 1
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embedding = nn.Parameter(torch.empty(1, positions, width))
        self.patch_embed = nn.Conv2d(config.num_channels, width, patch, stride=patch, bias=False)
        self.pre_layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        pixel_values = pixel_values.to(self.patch_embed.weight.dtype)
        patches = self.patch_embed(pixel_values).flatten(2).transpose(1, 2)  # (images, patches, width)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return self.pre_layernorm(tokens + self.position_embedding)


class VisionLayer(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: MPLUGOwl2VisionConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = VisionAttention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden))
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class VisionAttention(Attention):
    """Attention of all to all; the rows of `query_key_value` are [head][query, key, value][dimension]."""

    def __init__(self, config: MPLUGOwl2VisionConfig) -> None:
        super().__init__(config)
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        fused = self.query_key_value(hidden).unflatten(-1, (self.config.num_attention_heads, 3, -1))
        query, key, value = fused.permute(3, 0, 2, 1, 4)  # each (images, heads, tokens, dimension)
        return self.dense(self.attend(query, key, value, dropout=self.config.attention_dropout)[0])
