"""CogVLM's processor: published prompts, and pixels of any image squeezed into a square.

The image stands before the text: in a prompt it is the word `<image>` at the very start.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adamms.errors import check_choice
from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.processing import ImageTextProcessor, turns

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, of red, green and blue in [0, 1]
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

_IMAGE_FIRST = """
{%- set seen = namespace(images=0) -%}
{%- for message in messages if message.content is not string -%}
{%- for part in message.content if part.type == 'image' -%}
{%- set seen.images = seen.images + 1 -%}
{%- endfor -%}
{%- endfor -%}
{%- if seen.images > 1 -%}
{{- raise_exception('CogVLM takes one image, not ' + (seen.images | string)) -}}
{%- elif seen.images == 1 -%}
{{- '<image>' -}}
{%- endif -%}
"""
_LAST = "{%- set messages = messages[-1:] -%}"


def _questions(answer: str) -> str:
    return _IMAGE_FIRST + turns(
        user="Question: ", image="", after="", prompt=f" {answer}:", answer=f" {answer}: ", end="\n"
    )


class CogVLMProcessor(ImageTextProcessor):
    """Texts and at most one image for each -> the model's inputs.

    An image takes (image size / patch size)^2 + 2 tokens behind the begin-of-text token. Texts are
    tokenised without special tokens.
    Source: `build_conversation_input_ids` of the published modeling_cogvlm.py.

    Args:
        tokenizer: of the language model; must have a begin-of-text token.
        image_size, patch_size: of the vision encoder, in pixels.
        chat_template: one of `templates`, or another in which `<image>` is the first word or absent.
    """

    # By their published names. `base` has no earlier turns and no words around the question.
    templates: ClassVar[dict[str, str]] = {
        "chat": _questions("Answer"),
        "vqa": _questions("Short answer"),
        "base": _IMAGE_FIRST + _LAST + turns(user="", image="", after="", prompt="", answer="", end=""),
    }

    def __init__(
        self,
        tokenizer: Any = None,
        image_size: int = 490,
        patch_size: int = 14,
        chat_template: str | None = None,
    ) -> None:
        self.image_size = image_size
        self.patch_size = patch_size
        self.image_tokens = (image_size // patch_size) ** 2 + 2  # the patches and the two markers
        super().__init__(tokenizer, chat_template=chat_template or self.templates["chat"])
        if tokenizer.bos_token_id is None:
            raise ValueError("CogVLM's prompts begin with the begin-of-text token; the tokenizer has none")

    @classmethod
    def from_published(cls, folder: Path, config: CogVLMConfig, tokenizer: Any) -> Self:
        """The processor of a published checkpoint. All of it is in the configuration."""
        check_choice(f"{folder}: template_version", config.template_version, cls.templates)
        vision = config.vision_config
        template = cls.templates[config.template_version]
        return cls(tokenizer, vision.image_size, vision.patch_size, template)

    def _pieces(self, text: str) -> list[str]:
        return ["", text.removeprefix(self.word)] if text.startswith(self.word) else [text]

    def _tokens(self, piece: str, starts: bool) -> list[int]:
        return [self.tokenizer.bos_token_id] * starts + super()._tokens(piece, False)

    def _pixels(self, pictures: list[Image.Image]) -> Tensor:
        """(images, 3, size, size), resized by the bicubic filter and normalised."""
        size = (self.image_size, self.image_size)
        squares = [np.array(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures]
        pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return (pixels - mean) / deviation
