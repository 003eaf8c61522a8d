"""Tiny models of any type with all that they need to be asked: a tokenizer, a processor, a chat template."""

from pathlib import Path
from typing import Any

import trained_tokenizers
from tiny_types import build, multimodal_types

from adamms.data.digits import CANVAS, SKILLS
from adamms.demo import language
from adamms.demo.models import NORMALISED

PATCH = 16  # pixels; an image of 32 x 32 becomes one token
END = "<|end|>"
TOKENS = {
    "image_token_id": language.TARGET_IMAGE,
    "video_token_id": language.TARGET_VIDEO,
    "vision_start_token_id": language.VISION_START,
    "vision_end_token_id": language.VISION_END,
    "image_start_token_id": language.VISION_START,
    "image_end_token_id": language.VISION_END,
}
# What of the shrunk configuration no model can compute with.
_COMPUTABLE: dict[str, dict[str, Any]] = {
    "deepseek_v3": {"head_dim": 16, "num_key_value_heads": 4},  # of the rotary part
    "glm4v_moe": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 3, 3],
        }
    },
}


def save_askable(model_type: str, folder: Path, noise: int, **text: object) -> Path:
    """A model as `tiny_types.build` makes it, which answers something."""
    questions = [skill.question for skill in SKILLS]
    ids = trained_tokenizers.byte_level_bpe(folder, questions, 290, sorted(set(TOKENS.values())))
    ends = {"bos_token_id": None, "eos_token_id": ids[END], "pad_token_id": ids[END]}
    model = build(model_type, 0, noise, **ends, **(_COMPUTABLE.get(model_type, {}) | text))
    for key, value in ends.items():
        setattr(model.generation_config, key, value)
    for key, word in TOKENS.items():
        if hasattr(model.config, key):
            setattr(model.config, key, ids[word])
    model.save_pretrained(folder)
    _processor(model_type, folder).save_pretrained(folder)
    return folder


def _processor(model_type: str, folder: Path) -> Any:
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    template = language.chat_template(language.TARGET_IMAGE)
    if model_type not in multimodal_types():
        tokenizer.chat_template = template
        return tokenizer
    kind, image = ("Glm4v", "Glm4v") if "glm" in model_type else ("Qwen3VL", "Qwen2VL")
    area = {"shortest_edge": CANVAS * CANVAS, "longest_edge": CANVAS * CANVAS}
    settings = {"size": area, "patch_size": PATCH, "merge_size": 2, "temporal_patch_size": 2, **NORMALISED}
    return getattr(transformers, f"{kind}Processor")(
        image_processor=getattr(transformers, f"{image}ImageProcessor")(**settings),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, f"{kind}VideoProcessor")(**settings),
        chat_template=template,
    )
