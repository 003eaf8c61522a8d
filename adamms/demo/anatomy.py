"""What the training stages know of an architecture: parts, the words of an image, the forward's arguments.

One function for each multimodal model of `pairs`. It knows modules, nothing of lessons or files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from adamms.demo import batches, language, llamas

if TYPE_CHECKING:
    from transformers import (
        LlavaForConditionalGeneration,
        LlavaOnevisionForConditionalGeneration,
        Qwen2VLForConditionalGeneration,
    )

    from adamms.models.mplug_owl2.modeling import MPLUGOwl2LlamaForCausalLM


@dataclass(frozen=True)
class Anatomy:
    """The parts of a multimodal model.

    Args:
        tower: the vision encoder, trained first and on its own.
        language: parameters of the language model, which alignment freezes.
        image: the words that stand for the image in a prompt.
        inputs: ids (B, L) and pixels (B, 3, 32, 32) -> arguments of the forward.
        cells: pixels -> features of the four cells, (B, 4, width).
        width: of those features.
    """

    tower: nn.Module
    language: tuple[nn.Parameter, ...]
    image: tuple[str, ...]
    inputs: Callable[[Tensor, Tensor], dict[str, Tensor]]
    cells: Callable[[Tensor], Tensor]
    width: int


def qwen2_vl(model: "Qwen2VLForConditionalGeneration") -> Anatomy:
    visual = model.model.visual

    def cells(pixels: Tensor) -> Tensor:
        patches = batches.target_patches(pixels)
        merged = visual(patches["pixel_values"], grid_thw=patches["image_grid_thw"]).pooler_output
        return merged.unflatten(0, (len(pixels), 4))

    return Anatomy(
        tower=visual,
        language=(*model.model.language_model.parameters(), *model.lm_head.parameters()),
        image=(language.TARGET_IMAGE,) * batches.TARGET_TOKENS,
        inputs=batches.inputs_for_target,
        cells=cells,
        width=visual.config.hidden_size,
    )


def llava_onevision(model: "LlavaOnevisionForConditionalGeneration") -> Anatomy:
    tower = model.model.vision_tower

    def cells(pixels: Tensor) -> Tensor:
        return tower(pixels, output_hidden_states=True).hidden_states[-1]

    return Anatomy(
        tower=tower,
        language=(*model.model.language_model.parameters(), *model.lm_head.parameters()),
        image=(language.DONOR_IMAGE,) * batches.DONOR_TOKENS,
        inputs=batches.inputs_for_donor,
        cells=cells,
        width=tower.config.hidden_size,
    )


def mplug_owl2(model: "MPLUGOwl2LlamaForCausalLM") -> Anatomy:
    """The abstractor is of the tower: its queries learn which cell each of them reads.

    What the language model has twice, for text and for image tokens, is all its own.
    """
    decoder = model.model
    seeing = nn.ModuleList([decoder.vision_model, decoder.visual_abstractor])
    speaking = (decoder.embed_tokens, decoder.layers, decoder.norm, model.lm_head)

    def cells(pixels: Tensor) -> Tensor:
        return decoder.get_image_features(pixels)[:, : llamas.QUERIES]  # `vit_eos` is no cell's

    return Anatomy(
        tower=seeing,
        language=tuple(parameter for part in speaking for parameter in part.parameters()),
        image=(language.PAD,) * llamas.TARGET_TOKENS,
        inputs=llamas.inputs_for_mplug_owl2,
        cells=cells,
        width=model.config.hidden_size,
    )


def llava(model: "LlavaForConditionalGeneration") -> Anatomy:
    tower = model.model.vision_tower

    def cells(pixels: Tensor) -> Tensor:
        return tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]  # without the class token

    return Anatomy(
        tower=tower,
        language=(*model.model.language_model.parameters(), *model.lm_head.parameters()),
        image=(language.DONOR_IMAGE,) * llamas.DONOR_TOKENS,
        inputs=llamas.inputs_for_llava,
        cells=cells,
        width=tower.config.hidden_size,
    )
