"""What the native processors share: chat templates, tokens with places for images, padding.

A family says how an image becomes pixels and how many tokens it takes. Knows no model.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin
from transformers.image_transforms import to_pil_image
from transformers.image_utils import make_flat_list_of_images

from adamms.errors import AdammsError, check_choice
from adamms.models.causal import IMAGE, TEXT

_TURNS = """
{{- 'SYSTEM' -}}
{%- for message in messages -%}
{%- if message.role not in ('user', 'assistant') -%}
{{- raise_exception('the prompt knows the roles user and assistant, not ' + message.role) -}}
{%- endif -%}
{{- 'USER' if message.role == 'user' else 'ANSWER' -}}
{%- if message.content is string -%}{{- message.content -}}
{%- else -%}{%- for part in message.content -%}
{{- 'IMAGE' if part.type == 'image' else part.text -}}
{%- endfor -%}{%- endif -%}
{{- 'AFTER' if message.role == 'user' else 'END' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'PROMPT' -}}{%- endif -%}
"""


def turns(*, system: str = "", user: str, image: str, after: str, prompt: str, answer: str, end: str) -> str:
    """A Jinja template of a conversation: `user` question `after`, `answer` text `end`, ..., `prompt`.

    >>> "{{- 'USER: ' if" in turns(user="USER: ", image="<image>", after=" ", prompt="", answer="", end="")
    True
    """
    texts = {"SYSTEM": system, "USER": user, "IMAGE": image, "AFTER": after}
    texts |= {"PROMPT": prompt, "ANSWER": answer, "END": end}

    def literal(key: re.Match[str]) -> str:
        return texts[key[0]].replace("'", "\\'").replace("\n", "\\n")

    return re.sub("|".join(texts), literal, _TURNS)


class ImageTextProcessor(ProcessorMixin):
    """Texts with a word for each image, and the images -> the model's inputs.

    Attributes:
        word: what stands for an image in a text.
        templates: chat templates by name.
        image_tokens: how many tokens an image takes; every family says it.
        model_input_names: the inputs that the model has.
    """

    word: ClassVar[str] = "<image>"
    templates: ClassVar[dict[str, str]]
    image_tokens: int
    model_input_names: Sequence[str] = ("input_ids", "token_type_ids", "attention_mask", "pixel_values")

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: None = None,
        audio: None = None,
        *,
        padding: bool | str = False,
        padding_side: str = "left",
        add_special_tokens: bool = True,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """The model's inputs.

        Args:
            images: PIL images or arrays, of all texts in order; nested lists are flattened.
            text: prompts as the chat template renders them.
            padding: true or `longest`: fill shorter prompts up.
            padding_side: `left`, as generation needs, or `right`.
            add_special_tokens: whether a prompt starts with what the tokenizer starts a text with.
            return_tensors: only `pt`.

        Returns:
            `input_ids`, `token_type_ids` (1 for an image) and `attention_mask`, each (batch, length);
            with images `pixel_values` (images, 3, height, width).

        Raises:
            AdammsError: no text, another number of images than their places, or different lengths without
                padding.
        """
        if videos is not None or audio is not None or text is None:
            raise AdammsError(f"{type(self).__name__} takes text and images")
        check_choice("padding", str(padding), ("False", "True", "longest"))
        check_choice("padding_side", padding_side, ("left", "right"))
        check_choice("return_tensors", return_tensors, ("pt",))
        prompts = [self._pieces(prompt) for prompt in ([text] if isinstance(text, str) else text)]
        pictures = _pictures(images)
        if (places := sum(len(pieces) - 1 for pieces in prompts)) != len(pictures):
            raise AdammsError(f"the text has {self.word} {places} times; {len(pictures)} images were given")
        rows = [self._row(pieces, add_special_tokens) for pieces in prompts]
        longest = max(len(ids) for ids, _ in rows)
        if padding is False and any(len(ids) != longest for ids, _ in rows):
            raise AdammsError("texts of different lengths need padding=True")

        def padded(values: list[int], fill: int) -> list[int]:
            rest = [fill] * (longest - len(values))
            return rest + values if padding_side == "left" else values + rest

        data = {
            "input_ids": torch.tensor([padded(ids, self.filler) for ids, _ in rows]),
            "token_type_ids": torch.tensor([padded(types, TEXT) for _, types in rows]),
            "attention_mask": torch.tensor([padded([1] * len(ids), 0) for ids, _ in rows]),
        }
        if pictures:
            data["pixel_values"] = self._pixels(pictures)
        return BatchFeature({name: data[name] for name in self.model_input_names if name in data})

    @property
    def filler(self) -> int:
        """The id at padding, and at an image's places; the model looks at neither."""
        tokenizer = self.tokenizer
        special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
        return next((token for token in special if token is not None), 0)

    @property
    def _place(self) -> int:
        """The id at an image's places."""
        return self.filler

    def _pieces(self, text: str) -> list[str]:
        """The text between the images."""
        return text.split(self.word)

    def _start(self, pieces: list[str]) -> int:
        """Which piece gets the tokens that start a text."""
        return 0

    def _tokens(self, piece: str, starts: bool) -> list[int]:
        ids: list[int] = self.tokenizer(piece, add_special_tokens=starts)["input_ids"]
        return ids

    def _row(self, pieces: list[str], add_special_tokens: bool) -> tuple[list[int], list[int]]:
        """Ids and types of one prompt. Every piece is tokenised as a text of its own."""
        start = self._start(pieces) if add_special_tokens else None
        ids: list[int] = []
        types: list[int] = []
        for index, piece in enumerate(pieces):
            places = self.image_tokens * bool(index)
            tokens = self._tokens(piece, index == start) if piece or index == start else []
            ids += [self._place] * places + tokens
            types += [IMAGE] * places + [TEXT] * len(tokens)
        return ids, types

    def _pixels(self, pictures: list[Image.Image]) -> Tensor:
        """(images, 3, height, width), through the image processor."""
        squares = [self._square(picture) for picture in pictures]
        pixels: Tensor = self.image_processor(squares, return_tensors="pt")["pixel_values"]
        return pixels

    def _square(self, picture: Image.Image) -> Image.Image:
        """What the image processor is given for a picture: the picture, unless a family cuts or fills it."""
        return picture


def _pictures(images: Any) -> list[Image.Image]:
    """As RGB."""
    if images is None or (isinstance(images, Sequence) and not images):
        return []
    found = [i if isinstance(i, Image.Image) else to_pil_image(i) for i in make_flat_list_of_images(images)]
    return [picture.convert("RGB") for picture in found]
