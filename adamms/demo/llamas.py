"""The second pair's models and their processors: Llama (ancestor), mPLUG-Owl2 (target), LLaVA-1.5 (donor).

Sizes, vocabulary and chat format are those of `models`. Knows shapes, files and the forwards' arguments,
nothing of training.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adamms.data.digits import CANVAS
from adamms.demo import language
from adamms.demo.language import WORDS, Language
from adamms.demo.models import INITIALIZER_RANGE, NORMALISED, VISION_WIDTH, text_settings

if TYPE_CHECKING:
    import transformers

    from adamms.models.mplug_owl2.modeling import MPLUGOwl2LlamaForCausalLM
    from adamms.models.mplug_owl2.processing import MPLUGOwl2Processor

PATCH = 16  # pixels; one patch per cell
GRID = CANVAS // PATCH
HEADS = 3  # of the vision encoders
QUERIES = 4  # of the abstractor; one per cell
TARGET_TOKENS = QUERIES + 1  # the queries and `vit_eos`
DONOR_TOKENS = GRID**2  # the patches without CLIP's class token


def ancestor(spoken: Language = WORDS) -> "transformers.LlamaForCausalLM":
    """A Llama language model of about 0.8 M parameters, freshly initialised."""
    import transformers

    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**text_settings(spoken)))


def target(spoken: Language = WORDS) -> "MPLUGOwl2LlamaForCausalLM":
    """An mPLUG-Owl2; an image becomes 5 tokens."""
    from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config
    from adamms.models.mplug_owl2.modeling import MPLUGOwl2LlamaForCausalLM

    sizes = {
        "hidden_size": VISION_WIDTH,
        "num_attention_heads": HEADS,
        "initializer_range": INITIALIZER_RANGE,
    }
    encoder = {"intermediate_size": 4 * VISION_WIDTH, "num_hidden_layers": 2}
    encoder |= {"image_size": CANVAS, "patch_size": PATCH}
    abstractor = {"intermediate_size": 2 * VISION_WIDTH, "num_hidden_layers": 1}
    abstractor |= {"encoder_hidden_size": VISION_WIDTH, "num_learnable_queries": QUERIES, "grid_size": GRID}
    config = MPLUGOwl2Config(
        **text_settings(spoken),
        visual_config={"visual_model": sizes | encoder, "visual_abstractor": sizes | abstractor},
    )
    return MPLUGOwl2LlamaForCausalLM(config)


def donor(spoken: Language = WORDS) -> "transformers.LlavaForConditionalGeneration":
    """A LLaVA-1.5 with a CLIP tower; an image becomes 4 tokens."""
    import transformers

    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**text_settings(spoken)),
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=VISION_WIDTH,
            intermediate_size=4 * VISION_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            image_size=CANVAS,
            patch_size=PATCH,
            projection_dim=VISION_WIDTH,
        ),
        image_token_index=language.word_ids(spoken)[language.DONOR_IMAGE],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    return transformers.LlavaForConditionalGeneration(config)


def target_processor(spoken: Language = WORDS) -> "MPLUGOwl2Processor":
    """mPLUG-Owl2's processor, for 32 x 32 pixels and the demo's chat format."""
    from adamms.models.mplug_owl2.processing import IMAGE_TOKEN, MPLUGOwl2Processor

    return MPLUGOwl2Processor(
        _image_processor(),
        language.tokenizer(spoken),
        chat_template=language.chat_template(IMAGE_TOKEN),
        image_seq_length=TARGET_TOKENS,
    )


def donor_processor(spoken: Language = WORDS) -> "transformers.LlavaProcessor":
    """LLaVA-1.5's processor, for 32 x 32 pixels and the demo's chat format."""
    import transformers

    return transformers.LlavaProcessor(
        image_processor=_image_processor(),
        tokenizer=language.tokenizer(spoken),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=language.chat_template(language.DONOR_IMAGE),
        image_token=language.DONOR_IMAGE,
        num_additional_image_tokens=1,
    )


def _image_processor() -> "transformers.CLIPImageProcessor":
    import transformers

    square = {"height": CANVAS, "width": CANVAS}
    return transformers.CLIPImageProcessor(size={"shortest_edge": CANVAS}, crop_size=square, **NORMALISED)


def inputs_for_mplug_owl2(ids: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """Arguments of mPLUG-Owl2's forward; the image follows the vision-start token in every row."""
    types = torch.zeros_like(ids)
    types[:, 1 : 1 + TARGET_TOKENS] = 1
    return {"input_ids": ids, "token_type_ids": types, "pixel_values": pixels}


def inputs_for_llava(ids: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """Arguments of LLaVA-1.5's forward."""
    return {"input_ids": ids, "pixel_values": pixels}
