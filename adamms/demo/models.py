"""The first pair's models and processors: Qwen2 (ancestor), Qwen2-VL (target), LLaVA-OneVision (donor).

All three are tiny and share the vocabulary and the language model's shapes. Knows shapes and file formats,
nothing of training.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adamms.data.digits import CANVAS
from adamms.demo import language
from adamms.demo.language import WORDS, Language

if TYPE_CHECKING:
    import transformers

HIDDEN = 128
LAYERS = 4
HEADS = 4  # of 32 dimensions, the least that vLLM's attention kernel on a CPU takes
KEY_VALUE_HEADS = 2
FEED_FORWARD = 384
ROPE_THETA = 100.0  # contexts are short; 10000 learns too slowly
INITIALIZER_RANGE = 0.06  # at this width the usual 0.02 learns too slowly
MROPE_SECTION = [4, 6, 6]  # pairs of head dimensions for time, height, width

VISION_WIDTH = 96
TARGET_PATCH = 8  # pixels; 4 x 4 patches, merged 2 x 2 into one token per cell
DONOR_PATCH = 16  # pixels; one patch per cell, seen twice (base image and its only tile)
NORMALISED = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

_COPY = re.compile(r"\.multiway\.\d+(?=\.)")  # mPLUG-Owl2's copies for text and for image tokens


def text_settings(spoken: Language, **rope: object) -> dict[str, Any]:
    """Config fields that all language models here share; `rope` are further rotary parameters."""
    ids = language.word_ids(spoken)
    return {
        "vocab_size": len(ids),
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "max_position_embeddings": 512,
        "initializer_range": INITIALIZER_RANGE,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA, **rope},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": ids[language.END],
        "pad_token_id": ids[language.PAD],
    }


def ancestor(spoken: Language = WORDS) -> "transformers.Qwen2ForCausalLM":
    """A Qwen2 language model of about 0.8 M parameters, freshly initialised."""
    import transformers

    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**text_settings(spoken)))


def target(spoken: Language = WORDS) -> "transformers.Qwen2VLForConditionalGeneration":
    """A Qwen2-VL; an image becomes 4 tokens."""
    import transformers

    ids = language.word_ids(spoken)
    config = transformers.Qwen2VLConfig(
        text_config=text_settings(spoken, mrope_section=MROPE_SECTION),
        vision_config={
            "depth": 2,
            "embed_dim": VISION_WIDTH,
            "hidden_size": HIDDEN,
            "num_heads": 3,
            "mlp_ratio": 4,
            "patch_size": TARGET_PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=ids[language.TARGET_IMAGE],
        video_token_id=ids[language.TARGET_VIDEO],
        vision_start_token_id=ids[language.VISION_START],
        vision_end_token_id=ids[language.VISION_END],
        tie_word_embeddings=False,
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def donor(spoken: Language = WORDS) -> "transformers.LlavaOnevisionForConditionalGeneration":
    """A LLaVA-OneVision with a SigLIP tower; an image becomes 4 + 4 + 2 tokens (base, tile, newlines)."""
    import transformers

    ids = language.word_ids(spoken)
    config = transformers.LlavaOnevisionConfig(
        text_config=transformers.Qwen2Config(**text_settings(spoken)),
        vision_config=transformers.SiglipVisionConfig(
            hidden_size=VISION_WIDTH,
            intermediate_size=4 * VISION_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=3,
            image_size=CANVAS,
            patch_size=DONOR_PATCH,
            vision_use_head=False,
        ),
        image_token_index=ids[language.DONOR_IMAGE],
        video_token_index=ids[language.DONOR_VIDEO],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        image_grid_pinpoints=[[CANVAS, CANVAS]],
        tie_word_embeddings=False,
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config)


def target_processor(spoken: Language = WORDS) -> "transformers.Qwen2VLProcessor":
    """Qwen2-VL's processor, fixed to 32 x 32 pixels."""
    import transformers

    settings = {
        "size": {"shortest_edge": CANVAS * CANVAS, "longest_edge": CANVAS * CANVAS},
        "patch_size": TARGET_PATCH,
        "merge_size": 2,
        "temporal_patch_size": 2,
        **NORMALISED,
    }
    return transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**settings),
        tokenizer=language.tokenizer(spoken),
        video_processor=transformers.Qwen2VLVideoProcessor(**settings),
        chat_template=language.chat_template(language.TARGET_IMAGE),
    )


def donor_processor(spoken: Language = WORDS) -> "transformers.LlavaOnevisionProcessor":
    """LLaVA-OneVision's processor: the 32 x 32 image and one tile of the same size."""
    import transformers

    settings = {"size": {"height": CANVAS, "width": CANVAS}, **NORMALISED}
    tiles = [[CANVAS, CANVAS]]
    return transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(**settings, image_grid_pinpoints=tiles),
        tokenizer=language.tokenizer(spoken),
        video_processor=transformers.LlavaOnevisionVideoProcessor(**settings),
        num_image_tokens=(CANVAS // DONOR_PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=language.chat_template(language.DONOR_IMAGE),
        image_token=language.DONOR_IMAGE,
        video_token=language.DONOR_VIDEO,
        vision_aspect_ratio="anyres_max_9",
    )


def copy_language(source: nn.Module, destination: nn.Module) -> None:
    """Copy the language model of `source` into `destination`, into every copy where it has several."""
    weights = {_language_name(name): value for name, value in source.state_dict().items()}
    with torch.no_grad():
        for name, value in destination.state_dict().items():
            if (weight := weights.get(_language_name(name))) is not None:
                value.copy_(weight)


def _language_name(name: str) -> str:
    return _COPY.sub("", name.replace("model.language_model.", "model.", 1))


# Prefixes of parameters -> those in the hub's files. `save_pretrained` drops the level `vision_model.` of a
# vision tower, which vLLM needs.
TARGET_NAMES = {"model.language_model.": "model.", "model.visual.": "visual."}
LLAVA_NAMES = {
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}
DONOR_NAMES = LLAVA_NAMES | {"model.image_newline": "image_newline"}


def save(model: Any, prefixes: Mapping[str, str], processor: Any, folder: Path) -> None:
    """A checkpoint with a generation config for greedy answers.

    `PreTrainedTokenizerFast.from_pretrained` reads an ancestor's tokenizer. AutoTokenizer would not: beside
    a model of type qwen2 it expects Qwen's own byte-level one.

    Args:
        prefixes: beginnings of parameters' names -> what stands for them in the files.
        processor: or tokenizer, saved beside the model.
        folder: made here.
    """
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    def stored(name: str) -> str:
        for prefix, replacement in prefixes.items():
            if name.startswith(prefix):
                return replacement + name.removeprefix(prefix)
        return name

    folder.mkdir()
    weights = {stored(name): value.contiguous() for name, value in sorted(model.state_dict().items())}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    ids = language.word_ids()  # those of special tokens are the same in every language
    GenerationConfig(
        eos_token_id=ids[language.END], pad_token_id=ids[language.PAD], do_sample=False, max_new_tokens=8
    ).save_pretrained(folder)
    processor.save_pretrained(folder)
