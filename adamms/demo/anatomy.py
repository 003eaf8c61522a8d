"""What training needs to know of an architecture: its parts, the words of an image, the forward's arguments.

One function for each multimodal model of `pairs`. Knows modules, nothing of lessons or files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from adamms.demo import batches, language, llamas

if TYPE_CHECKING:
    import transformers

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


def qwen2_vl(model: "transformers.Qwen2VLForConditionalGeneration") -> Anatomy:
    visual = model.model.visual

    def cells(pixels: Tensor) -> Tensor:
        patches = batches.target_patches(pixels)
        merged = visual(patches["pixel_values"], grid_thw=patches["image_grid_thw"]).pooler_output
        return merged.unflatten(0, (len(pixels), 4))

    return Anatomy(
        tower=visual,
        language=_parameters(model.model.language_model, model.lm_head),
        image=(language.TARGET_IMAGE,) * batches.TARGET_TOKENS,
        inputs=batches.inputs_for_target,
        cells=cells,
        width=visual.config.hidden_size,
    )


def llava_onevision(model: "transformers.LlavaOnevisionForConditionalGeneration") -> Anatomy:
    return _llava(model, batches.DONOR_TOKENS, batches.inputs_for_donor, first_patch=0)


def llava(model: "transformers.LlavaForConditionalGeneration") -> Anatomy:
    return _llava(model, llamas.DONOR_TOKENS, llamas.inputs_for_llava, first_patch=1)


def mplug_owl2(model: "MPLUGOwl2LlamaForCausalLM") -> Anatomy:
    """The abstractor counts as vision: each of its queries learns to read one cell.

    Both copies of a module, for text and for image tokens, count as the language model.
    """
    decoder = model.model

    def cells(pixels: Tensor) -> Tensor:
        return decoder.get_image_features(pixels)[:, : llamas.QUERIES]  # without `vit_eos`

    return Anatomy(
        tower=nn.ModuleList([decoder.vision_model, decoder.visual_abstractor]),
        language=_parameters(decoder.embed_tokens, decoder.layers, decoder.norm, model.lm_head),
        image=(language.PAD,) * llamas.TARGET_TOKENS,
        inputs=llamas.inputs_for_mplug_owl2,
        cells=cells,
        width=model.config.hidden_size,
    )


def _llava(
    model: Any, tokens: int, inputs: Callable[[Tensor, Tensor], dict[str, Tensor]], first_patch: int
) -> Anatomy:
    """A LLaVA whose image takes `tokens` tokens; `first_patch` of the tower is 1 behind a class token."""
    tower = model.model.vision_tower

    def cells(pixels: Tensor) -> Tensor:
        return tower(pixels, output_hidden_states=True).hidden_states[-1][:, first_patch:]

    return Anatomy(
        tower=tower,
        language=_parameters(model.model.language_model, model.lm_head),
        image=(language.DONOR_IMAGE,) * tokens,
        inputs=inputs,
        cells=cells,
        width=tower.config.hidden_size,
    )


def _parameters(*parts: nn.Module) -> tuple[nn.Parameter, ...]:
    return tuple(parameter for part in parts for parameter in part.parameters())
