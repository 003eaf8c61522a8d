"""CogVLM's processor: prompts by template, token types, and pixels.

The image has no token of its own and stands before the text: in a prompt it is the word `IMAGE` at the
very start.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin

from adamms.errors import check_choice
from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.cogvlm.layout import IMAGE as IMAGE_TYPE
from adamms.models.cogvlm.layout import TEXT as TEXT_TYPE

IMAGE = "<image>"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, of red, green and blue in [0, 1]
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

# The text of a message, and the image's word before everything; then what is said is joined.
_PARTS = """
{%- macro text(message) -%}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}{%- for part in message.content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set seen = namespace(images=0) -%}
{%- for message in messages -%}
{%- if message.role not in ('user', 'assistant') -%}
{{- raise_exception('CogVLM knows the roles user and assistant, not ' + message.role) -}}
{%- endif -%}
{%- if message.content is not string -%}
{%- for part in message.content if part.type == 'image' -%}
{%- set seen.images = seen.images + 1 -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if seen.images > 1 -%}
{{- raise_exception('CogVLM takes one image, not ' + (seen.images | string)) -}}
{%- elif seen.images == 1 -%}
{{- '<image>' -}}
{%- endif -%}
"""
_TURNS = """
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{- 'Question: ' + text(message) -}}
{%- else -%}{{- ' ANSWER: ' + text(message) + '\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- ' ANSWER:' -}}{%- endif -%}
"""
_LAST = "{{- text(messages[-1]) -}}"


class CogVLMProcessor(ProcessorMixin):
    """Texts and at most one image for each -> the model's inputs.

    The image is resized to a square whatever its shape, bicubic, and takes the place of (image size / patch
    size)^2 + 2 tokens behind the begin-of-text token. Texts are tokenised without special tokens.
    Source: `build_conversation_input_ids` of the published modeling_cogvlm.py.

    Args:
        tokenizer: of the language model; must have a begin-of-text token.
        image_size, patch_size: of the vision encoder, in pixels.
        chat_template: one of `templates`, or another in which `IMAGE` is the first word or absent.
    """

    # By the published names: what the prompt of a question is, after earlier turns where there are any.
    templates: ClassVar[dict[str, str]] = {
        "chat": _PARTS + _TURNS.replace("ANSWER", "Answer"),
        "vqa": _PARTS + _TURNS.replace("ANSWER", "Short answer"),
        "base": _PARTS + _LAST,
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
        super().__init__(tokenizer, chat_template=chat_template or self.templates["chat"])
        if tokenizer.bos_token_id is None:
            raise ValueError("CogVLM's prompts begin with the begin-of-text token; the tokenizer has none")

    @classmethod
    def from_published(cls, folder: Path, config: CogVLMConfig, tokenizer: Any) -> Self:
        """The processor of a published checkpoint, all of it from its configuration.

        Args:
            folder: not looked into; the published ones hold nothing of the processor.
        """
        check_choice(f"{folder}: template_version", config.template_version, cls.templates)
        vision = config.vision_config
        template = cls.templates[config.template_version]
        return cls(tokenizer, vision.image_size, vision.patch_size, template)

    @property
    def image_tokens(self) -> int:
        """Tokens of one image: the patches and the two markers."""
        return (self.image_size // self.patch_size) ** 2 + 2

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        padding: bool = False,
        padding_side: str = "left",
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Inputs of the model.

        Args:
            images: one for each text that begins with `IMAGE`, in their order.
            text: prompts, as the chat template renders them.
            padding: to the longest; without it all have to be of one length.
            padding_side: `left`, as generation needs, or `right`.
            return_tensors: only `pt`.

        Returns:
            input_ids, token_type_ids, attention_mask (batch, length); pixel_values (images, 3, size, size)
            if there are images.

        Raises:
            ValueError: no text, another number of images than of texts that begin with `IMAGE`, or lengths
                that differ without padding.
        """
        if text is None:
            raise ValueError("CogVLM needs a text")
        check_choice("padding_side", padding_side, ("left", "right"))
        check_choice("return_tensors", return_tensors, ("pt",))
        texts = [text] if isinstance(text, str) else list(text)
        pictures = [images] if isinstance(images, Image.Image) else list(images or ())
        expected = sum(words.startswith(IMAGE) for words in texts)
        if len(pictures) != expected:
            raise ValueError(f"{len(pictures)} images for {expected} texts that begin with {IMAGE}")
        rows = [self._row(words) for words in texts]
        longest = max(len(ids) for ids, _ in rows)
        if not padding and any(len(ids) != longest for ids, _ in rows):
            raise ValueError("texts of different lengths need padding=True")
        data = _pad(rows, longest, padding_side, self._filler)
        if pictures:
            data["pixel_values"] = torch.stack([self._pixels(picture) for picture in pictures])
        return BatchFeature(data)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "token_type_ids", "attention_mask", "pixel_values"]

    @property
    def _filler(self) -> int:
        """The id where an image or nothing is; the model does not look at it."""
        return self.tokenizer.pad_token_id or 0

    def _row(self, words: str) -> tuple[list[int], list[int]]:
        """Token ids and token types of one prompt."""
        image = self.image_tokens if words.startswith(IMAGE) else 0
        ids = self.tokenizer(words.removeprefix(IMAGE), add_special_tokens=False)["input_ids"]
        tokens = [self.tokenizer.bos_token_id, *[self._filler] * image, *ids]
        return tokens, [TEXT_TYPE, *[IMAGE_TYPE] * image, *[TEXT_TYPE] * len(ids)]

    def _pixels(self, picture: Image.Image) -> torch.Tensor:
        """(3, size, size), normalised."""
        square = picture.convert("RGB").resize((self.image_size,) * 2, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return (pixels - mean) / deviation


def _pad(
    rows: Sequence[tuple[list[int], list[int]]], longest: int, side: str, filler: int
) -> dict[str, torch.Tensor]:
    """The rows' ids and types with a mask, each (batch, longest)."""

    def padded(values: list[int], value: int) -> list[int]:
        rest = [value] * (longest - len(values))
        return rest + values if side == "left" else values + rest

    return {
        "input_ids": torch.tensor([padded(ids, filler) for ids, _ in rows]),
        "token_type_ids": torch.tensor([padded(types, TEXT_TYPE) for _, types in rows]),
        "attention_mask": torch.tensor([padded([1] * len(ids), 0) for ids, _ in rows]),
    }
