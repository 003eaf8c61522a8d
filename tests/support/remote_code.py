"""Adds code and a tokenizer to a folder of remote_formats.py, so that vLLM runs it like the published one.

The code, written for these tests, covers what vLLM 0.32 asks for. vLLM implements the models itself.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from family_models import TEXT
from remote_formats import FEED_FORWARD, QUERIES, WIDTH, phi3_v_vision

INTERNVL = """
from transformers import PretrainedConfig, Qwen2Config


class InternVisionConfig(PretrainedConfig):
    model_type = "intern_vit_6b"


class InternLM2Config(PretrainedConfig):
    model_type = "internlm2"

    def __init__(self, hidden_act="silu", bias=False, rope_theta=10000.0, rope_scaling=None, **rest):
        self.hidden_act, self.bias = hidden_act, bias
        self.rope_theta, self.rope_scaling = rope_theta, rope_scaling
        super().__init__(**rest)


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"

    def __init__(self, vision_config=None, llm_config=None, **rest):
        llm_config = llm_config or {"architectures": ["Qwen2ForCausalLM"]}
        kind = InternLM2Config if "InternLM2" in llm_config["architectures"][0] else Qwen2Config
        self.vision_config = InternVisionConfig(**(vision_config or {}))
        self.llm_config = kind(**llm_config)
        super().__init__(**rest)
"""
MINICPM_V = """
from transformers import PretrainedConfig, Qwen2Config, SiglipVisionConfig


class MiniCPMVConfig(Qwen2Config):
    model_type = "minicpmv"

    def __init__(self, vision_config=None, **rest):
        self.vision_config = SiglipVisionConfig(**(vision_config or {}))
        super().__init__(**rest)
"""
# One slice for each image, whole patches of 14 pixels along one row, as the published processor lays them.
MINICPM_V_IMAGES = f"""
import torch
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor


class MiniCPMVImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values"]
    max_slice_nums, image_feature_size = 1, {QUERIES}
    im_id_start, im_id_end = "<image_id>", "</image_id>"

    def get_slice_image_placeholder(self, image_size, image_idx=0, max_slice_nums=None, use_image_id=True):
        return f"<image_id> {{image_idx}} </image_id> <image> {" ".join(["<unk>"] * QUERIES)} </image>"

    def get_sliced_grid(self, image_size, max_slice_nums=None):
        return None

    def __call__(self, images, do_pad=True, max_slice_nums=None, return_tensors=None, **rest):
        pixels, sizes, counts = [], [], []
        for group in images:
            tensors = [self._strip(image) for image in group]
            pixels.append(tensors)
            sizes.append([image.size for image in group])
            counts.append(torch.tensor([[3, 3]] * len(group), dtype=torch.int32))
        return BatchFeature({{"pixel_values": pixels, "image_sizes": sizes, "tgt_sizes": counts}})

    def _strip(self, image):
        square = image.convert("RGB").resize((42, 42))
        values = torch.tensor(list(square.tobytes()), dtype=torch.float32).reshape(42, 42, 3) / 127.5 - 1
        rows = values.permute(2, 0, 1).unfold(1, 14, 14)  # (3, 3 rows, 42, 14)
        return rows.permute(0, 3, 1, 2).reshape(3, 14, 3 * 42)
"""
MINICPM_V_PROCESSOR = """
from transformers import ProcessorMixin


class MiniCPMVProcessor(ProcessorMixin):
    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor=None, tokenizer=None, **rest):
        super().__init__(image_processor, tokenizer, **rest)
"""
PHI3_V = """
from transformers import Phi3Config


class Phi3VConfig(Phi3Config):
    model_type = "phi3_v"
"""
# One crop for each image whatever its shape, and the whole: with their separators 313 tokens.
PHI3_V_PROCESSOR = """
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

SIDE = 336


class Phi3VImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values", "image_sizes"]

    def __call__(self, images, return_tensors=None, **rest):
        images = images if isinstance(images, list) else [images]
        pixels = torch.stack([self._pixels(image) for image in images])
        sizes = torch.tensor([[SIDE, SIDE]] * len(images))
        return BatchFeature({"pixel_values": torch.stack([pixels, pixels], 1), "image_sizes": sizes})

    def _pixels(self, image):
        raw = bytearray(image.convert("RGB").resize((SIDE, SIDE)).tobytes())
        values = torch.frombuffer(raw, dtype=torch.uint8).float() / 127.5 - 1
        return values.reshape(SIDE, SIDE, 3).permute(2, 0, 1)


class Phi3VProcessor(ProcessorMixin):
    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"
    img_tokens = [f"<|image_{i}|>" for i in range(1, 3)]

    def __init__(self, image_processor=None, tokenizer=None, **rest):
        super().__init__(image_processor, tokenizer)

    def calc_num_image_tokens_from_image_size(self, width, height):
        return 313

    def __call__(self, text, images=None, return_tensors=None, **rest):
        inputs = dict(self.tokenizer(text, return_tensors="pt"))
        return BatchFeature(inputs | (dict(self.image_processor(images)) if images else {}))
"""

_VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
_INTERNVL_FIELDS = {
    "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
    "downsample_ratio": 0.5,
    "dynamic_image_size": True,
    "force_image_size": 32,
    "max_dynamic_patch": 2,
    "min_dynamic_patch": 1,
    "pad2square": False,
    "ps_version": "v2",
    "select_layer": -1,
    "template": "internvl2_5",
    "use_thumbnail": True,
    "vision_config": _VISION
    | {
        **{"model_type": "intern_vit_6b", "image_size": 32, "patch_size": 16, "norm_type": "layer_norm"},
        **{"qkv_bias": True, "qk_normalization": False, "initializer_factor": 1.0},
    },
}
_MINICPM_V_FIELDS = {
    "auto_map": {"AutoConfig": "configuration_minicpm.MiniCPMVConfig"},
    "version": 2.6,
    "query_num": QUERIES,
    "drop_vision_last_layer": False,
    "image_size": 70,
    "patch_size": 14,
    "vision_config": _VISION | {"model_type": "siglip", "image_size": 70, "patch_size": 14},
}
_MINICPM_V_PREPROCESSOR = {
    "image_processor_type": "MiniCPMVImageProcessor",
    "processor_class": "MiniCPMVProcessor",
    "auto_map": {
        "AutoProcessor": "processing_minicpmv.MiniCPMVProcessor",
        "AutoImageProcessor": "image_processing_minicpmv.MiniCPMVImageProcessor",
    },
}
# vLLM has CLIP ViT-L/14-336 and the image's token id, 32044, in its code: all but the depth is as published.
_PHI3_V_WIDTH = 1024
PHI3_V_VISION = phi3_v_vision(_PHI3_V_WIDTH, inner=4096, patch=14, positions=577)
PHI3_V_LANGUAGE = {"vocab_size": 32064, "max_position_embeddings": 512}
_PHI3_V_FIELDS = {
    "auto_map": {"AutoConfig": "configuration_phi3_v.Phi3VConfig"},
    **PHI3_V_LANGUAGE,
    "original_max_position_embeddings": 512,
    "embd_layer": {
        **{"embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp"},
        **{"use_hd_transform": True, "with_learnable_separator": True},
    },
    "img_processor": {
        **{"image_dim_out": _PHI3_V_WIDTH, "layer_idx": 0, "num_img_tokens": 144},
        **{"name": "clip_vision_model", "type_feature": "patch"},
    },
}
_PHI3_V_PREPROCESSOR = {
    "image_processor_type": "Phi3VImageProcessor",
    "processor_class": "Phi3VProcessor",
    "auto_map": {
        "AutoProcessor": "processing_phi3_v.Phi3VProcessor",
        "AutoImageProcessor": "processing_phi3_v.Phi3VImageProcessor",
    },
}
FIELDS = {
    "phi3_v": _PHI3_V_FIELDS,
    "internvl_internlm2": _INTERNVL_FIELDS,
    "internvl_qwen2": _INTERNVL_FIELDS,
    "minicpm_v": _MINICPM_V_FIELDS,
}
FILES = {
    "phi3_v": {
        "configuration_phi3_v.py": PHI3_V,
        "processing_phi3_v.py": PHI3_V_PROCESSOR,
        "preprocessor_config.json": json.dumps(_PHI3_V_PREPROCESSOR),
    },
    "internvl_internlm2": {"configuration_internvl_chat.py": INTERNVL},
    "internvl_qwen2": {"configuration_internvl_chat.py": INTERNVL},
    "minicpm_v": {
        "configuration_minicpm.py": MINICPM_V,
        "image_processing_minicpmv.py": MINICPM_V_IMAGES,
        "processing_minicpmv.py": MINICPM_V_PROCESSOR,
        "preprocessor_config.json": json.dumps(_MINICPM_V_PREPROCESSOR),
    },
}
# Begin, end and padding have the ids of family_models.TEXT: 2, 0 and 0.
SPECIAL = (
    "</s>",
    "<unk>",
    "<s>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<image>",
    "</image>",
    "<image_id>",
    "</image_id>",
)
WORDS = ("(", "./", ")", "0", "largest", "smallest", "digit", "colour", "of", "the", "red", "blue", "sum")
# ChatML as all these models have it: the content is joined as a text, not looked into for parts.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ' ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def make_runnable(name: str, folder: Path) -> Path:
    """Add to the folder of `families.save_family(name)` what its published folder has beside weights."""
    return add_code(folder, FIELDS[name], FILES[name])


def add_code(folder: Path, fields: Mapping[str, Any], files: Mapping[str, str]) -> Path:
    """Add these fields of config.json, these files and a tokenizer."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    for file, text in files.items():
        (folder / file).write_text(text)
    save_tokenizer(folder, config.get("vocab_size", TEXT["vocab_size"]))
    return folder


def save_tokenizer(folder: Path, size: int) -> None:
    """A word-level tokenizer of as many words as the model has rows."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *WORDS]
    words += [f"w{i}" for i in range(size - len(words))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": TEMPLATE}))
