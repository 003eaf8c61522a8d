"""Adds code and a tokenizer to a folder of recent_formats.py, so that vLLM runs it like the published one.

The code, written for these tests, covers what vLLM 0.32 asks for: less where no image is asked.
"""

import json
from pathlib import Path
from typing import Any

import remote_code
from family_models import HIDDEN
from recent_formats import PATCH, VISUAL_WORDS
from remote_formats import FEED_FORWARD, WIDTH

# Formats that also answer about images.
WITH_IMAGES = ("minicpm_v_4_5", "internvl_qwen3_moe", "keye_vl")
CONFIGURATION = """
from transformers import PretrainedConfig, Qwen3Config
from transformers.models.auto.configuration_auto import CONFIG_MAPPING


def nested(fields):
    for name, value in fields.items():
        if isinstance(value, dict) and name.endswith("_config"):
            known = value.get("model_type") in CONFIG_MAPPING
            fields[name] = (CONFIG_MAPPING[value["model_type"]] if known else PretrainedConfig)(**value)
    return fields


class WrapperConfig(PretrainedConfig):
    def __init__(self, **fields):
        super().__init__(**nested(fields))


class LanguageConfig(Qwen3Config):
    def __init__(self, **fields):
        super().__init__(**nested(fields))
"""
# Every image becomes 2 x 2 patches, which become one token.
PROCESSING = f"""
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

PATCH, SIDE = {PATCH}, {2 * PATCH}


class TinyImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values", "image_grid_thw"]
    merge_size = 2

    def __init__(self, **rest):
        super().__init__(**rest)
        self.size = {{"min_pixels": SIDE**2, "max_pixels": SIDE**2}}

    def __call__(self, images, return_tensors=None, **rest):
        images = images if isinstance(images, list) else [images]
        patches = torch.cat([self._patches(image) for image in images])
        grids = torch.tensor([[1, 2, 2]] * len(images))
        return BatchFeature({{"pixel_values": patches, "image_grid_thw": grids}})

    def _patches(self, image):
        raw = bytearray(image.convert("RGB").resize((SIDE, SIDE)).tobytes())
        values = torch.frombuffer(raw, dtype=torch.uint8).float().reshape(SIDE, SIDE, 3) / 127.5 - 1
        tiles = values.permute(2, 0, 1).unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)
        return tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, PATCH, PATCH)


class TinyProcessor(ProcessorMixin):
    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"
    image_token, video_token = "<image>", "<img>"

    def __init__(self, image_processor=None, tokenizer=None, **rest):
        super().__init__(image_processor, tokenizer)

    def __call__(self, text=None, images=None, videos=None, **rest):
        inputs = dict(self.tokenizer(text, return_tensors="pt"))
        return BatchFeature(inputs | (dict(self.image_processor(images)) if images else {{}}))
"""
_PREPROCESSOR = {
    "image_processor_type": "TinyImageProcessor",
    "processor_class": "TinyProcessor",
    "auto_map": {
        "AutoProcessor": "processing_tiny.TinyProcessor",
        "AutoImageProcessor": "processing_tiny.TinyImageProcessor",
    },
}
_TINY = {
    "configuration_tiny.py": CONFIGURATION,
    "processing_tiny.py": PROCESSING,
    "preprocessor_config.json": json.dumps(_PREPROCESSOR),
}
# Where vLLM makes the processor itself.
_QWEN2_VL = {
    "configuration_tiny.py": CONFIGURATION,
    "preprocessor_config.json": json.dumps({"image_processor_type": "Qwen2VLImageProcessor"}),
}
_WRAPPER = {"auto_map": {"AutoConfig": "configuration_tiny.WrapperConfig"}}
_VISION = {
    **{"hidden_size": WIDTH, "intermediate_size": FEED_FORWARD, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "num_channels": 3, "image_size": 2 * PATCH, "patch_size": PATCH},
    **{"spatial_merge_size": 2, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"},
    **{"attention_dropout": 0.0},
}
_HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": WIDTH // 2}
_DEEPSEEK_VL2 = {"projector_config": {"input_dim": WIDTH, "n_embed": HIDDEN}, "tile_tag": "2D"}
FIELDS: dict[str, dict[str, Any]] = {
    "minicpm_v_4_5": remote_code.FIELDS["minicpm_v"] | {"version": 4.5},
    "internvl_qwen3_moe": remote_code.FIELDS["internvl_qwen2"],
    "keye_vl": {
        "auto_map": {"AutoConfig": "configuration_tiny.LanguageConfig"},
        "vision_config": _VISION,
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 6, 6]},
    },
    "ovis_2_5": _WRAPPER
    | {
        "vit_config": _VISION
        | {
            **{"model_type": "siglip2_navit", "hidden_stride": 2, "num_patches": -1, "use_rope": True},
            **{"preserve_original_pe": True, "window_size": 112, "fullatt_block_indexes": None},
            "temporal_patch_size": 1,
        },
        "visual_vocab_size": VISUAL_WORDS,
        "hidden_size": HIDDEN,
    },
    "llava_onevision_2": _WRAPPER | {"vision_config": _VISION},
    "molmo2": _WRAPPER
    | {
        "vit_config": _HEADS
        | {
            **{"hidden_size": WIDTH, "intermediate_size": FEED_FORWARD, "num_hidden_layers": 2},
            **{"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "image_patch_size": PATCH},
            **{"image_default_input_size": [2 * PATCH, 2 * PATCH], "image_num_pos": 4},
        },
        "adapter_config": _HEADS
        | {
            **{"vit_layers": [-1, -2], "pooling_attention_mask": True, "hidden_size": WIDTH},
            **{"hidden_act": "silu", "intermediate_size": FEED_FORWARD, "text_hidden_size": HIDDEN},
        },
        "image_patch_id": 50,
    },
    "kimi_vl": {},
    "deepseek_vl2": _DEEPSEEK_VL2,
    "deepseek_vl2_tiny": _DEEPSEEK_VL2,
    "openvla": {},
}
_MINICPM_V = remote_code.FILES["minicpm_v"]
_INTERNVL = remote_code.INTERNVL.replace("Qwen2Config", "Qwen3MoeConfig")
FILES: dict[str, dict[str, str]] = {
    "minicpm_v_4_5": _MINICPM_V
    | {"configuration_minicpm.py": remote_code.MINICPM_V.replace("Qwen2", "Qwen3")},
    "internvl_qwen3_moe": {"configuration_internvl_chat.py": _INTERNVL},
    "keye_vl": _TINY,
    "ovis_2_5": _QWEN2_VL,
    "llava_onevision_2": _TINY,
    "molmo2": _TINY,
    "kimi_vl": _TINY,
    "deepseek_vl2": {},
    "deepseek_vl2_tiny": {},
    "openvla": {},
}


def make_runnable(name: str, folder: Path) -> Path:
    """Add to the folder of `families.save_family(name)` what its published folder has beside weights."""
    return remote_code.add_code(folder, FIELDS[name], FILES[name])
