"""mPLUG-Owl2's processor: prompts with placeholders and images to what the model takes.

Source: X-PLUG/mPLUG-Owl, mPLUG-Owl2/mplug_owl2/{mm_utils,conversation}.py and evaluate/evaluate_vqa.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from PIL import Image
from transformers import BatchFeature, CLIPImageProcessor, ProcessorMixin
from transformers.image_transforms import to_pil_image
from transformers.image_utils import make_flat_list_of_images

from adamms.errors import AdammsError, check_choice
from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config

IMAGE_TOKEN = "<|image|>"

# Turns of a conversation; the published one has no system text, and ends an answer with </s>.
_TURNS = """
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{- 'USER: ' -}}
{%- elif message.role == 'assistant' -%}{{- 'ASSISTANT: ' -}}
{%- else -%}{{- raise_exception('mPLUG-Owl2 knows the roles user and assistant, not ' + message.role) -}}
{%- endif -%}
{%- if message.content is string -%}{{- message.content -}}
{%- else -%}{%- for part in message.content -%}
{{- '<|image|>' if part.type == 'image' else part.text -}}
{%- endfor -%}
{%- endif -%}
{{- 'AFTER' if message.role == 'user' else '</s>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'PROMPT' -}}{%- endif -%}
"""
_BRIEFLY = " Answer the question using a single word or phrase."


class MPLUGOwl2Processor(ProcessorMixin):
    """Tokenizer and CLIP image processor of mPLUG-Owl2.

    Args:
        image_processor: the checkpoint's, a CLIP image processor for squares.
        tokenizer: the checkpoint's, Llama's; it needs no image token.
        chat_template: one of `templates`, or another that writes `<|image|>` for an image.
        image_seq_length: embeddings that the model makes of an image.
    """

    # The published conversation, and its prompt for visual questions; that one ends with a space.
    templates: ClassVar[dict[str, str]] = {
        "chat": _TURNS.replace("AFTER", " ").replace("PROMPT", "ASSISTANT:"),
        "vqa": _TURNS.replace("AFTER", f"{_BRIEFLY} ").replace("PROMPT", "ASSISTANT: "),
    }

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | dict[str, str] | None = None,
        image_seq_length: int = 65,
    ) -> None:
        self.image_seq_length = image_seq_length
        super().__init__(image_processor, tokenizer, chat_template=chat_template or self.templates["chat"])
        special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
        self.filler = next((token for token in special if token is not None), 0)

    @classmethod
    def from_published(cls, folder: Path, config: MPLUGOwl2Config, tokenizer: Any) -> Self:
        """The processor of a published checkpoint: its CLIP settings, the rest from its configuration.

        Raises:
            AdammsError: preprocessor_config.json makes images of another size than the model takes.
        """
        edge = config.visual_model.image_size
        if (folder / "preprocessor_config.json").is_file():
            images = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        else:
            square = {"height": edge, "width": edge}
            images = CLIPImageProcessor(size={"shortest_edge": edge}, crop_size=square)
        if _edge(images) != edge:
            raise AdammsError(
                f"{folder}: preprocessor_config.json makes images of {_edge(images)} pixels; "
                f"visual_config.visual_model.image_size in config.json is {edge}"
            )
        return cls(images, tokenizer, image_seq_length=config.image_seq_length)

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
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """The model's inputs.

        Args:
            images: PIL images (or arrays), of all texts in order; nested lists are flattened.
            text: prompts with one `<|image|>` per image.
            padding: true or `longest` fills shorter prompts up, on the `padding_side`.
            add_special_tokens: whether a prompt starts with what the tokenizer starts a text with.

        Returns:
            `input_ids` with a filler at the positions of images, `token_type_ids` with 1 there,
            `attention_mask`, and with images `pixel_values` (images, 3, height, width).

        Raises:
            AdammsError: placeholders and images do not match; a kind of padding that does not exist.
        """
        if videos is not None or audio is not None or text is None:
            raise AdammsError("mPLUG-Owl2's processor takes text and images")
        check_choice("padding", str(padding), ("False", "True", "longest"))
        check_choice("padding_side", padding_side, ("left", "right"))
        prompts = [text] if isinstance(text, str) else list(text)
        pictures = [] if images is None else self._flat(images)
        places = sum(prompt.count(IMAGE_TOKEN) for prompt in prompts)
        if places != len(pictures):
            raise AdammsError(f"the text has {IMAGE_TOKEN} {places} times; {len(pictures)} images were given")
        rows = [self._tokens(prompt, add_special_tokens) for prompt in prompts]
        data = self._padded(rows, padding is not False, padding_side == "left")
        if pictures:
            squares = [self._square(picture) for picture in pictures]
            data |= self.image_processor(squares, return_tensors=return_tensors)
        return BatchFeature(data, tensor_type=return_tensors)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "token_type_ids", "attention_mask", "pixel_values"]

    def _tokens(self, prompt: str, add_special_tokens: bool) -> tuple[list[int], list[int]]:
        """Ids and types. Text around images is tokenised piece by piece; the first of them has the BOS."""
        pieces = prompt.split(IMAGE_TOKEN)
        first = next((index for index, piece in enumerate(pieces) if piece), 0)
        ids: list[int] = []
        types: list[int] = []
        for index, piece in enumerate(pieces):
            if index:
                ids += [self.filler] * self.image_seq_length
                types += [1] * self.image_seq_length
            special = add_special_tokens and index == first
            ids += self.tokenizer(piece, add_special_tokens=special)["input_ids"] if piece or special else []
            types += [0] * (len(ids) - len(types))
        return ids, types

    def _padded(
        self, rows: Sequence[tuple[list[int], list[int]]], pad: bool, left: bool
    ) -> dict[str, list[list[int]]]:
        data: dict[str, list[list[int]]] = {"input_ids": [], "token_type_ids": [], "attention_mask": []}
        longest = max(len(ids) for ids, _ in rows)
        for ids, types in rows:
            missing = longest - len(ids) if pad else 0
            for key, values, fill in (
                ("input_ids", ids, self.filler),
                ("token_type_ids", types, 0),
                ("attention_mask", [1] * len(ids), 0),
            ):
                filling = [fill] * missing
                data[key].append(filling + values if left else values + filling)
        return data

    def _flat(self, images: Any) -> list[Any]:
        nothing = isinstance(images, list | tuple) and not images
        flat: list[Any] = (
            [] if nothing else make_flat_list_of_images(self.image_processor.fetch_images(images))
        )
        return flat

    def _square(self, picture: Any) -> Image.Image:
        """The picture at the model's size, stretched to a square first.

        Both steps by PIL's bicubic filter, as the published code takes them, whichever library the
        image processor would resize with; it then finds nothing to resize or crop.
        """
        image = picture if isinstance(picture, Image.Image) else to_pil_image(picture)
        image = image.convert("RGB")
        longer = max(image.size)
        edge = _edge(self.image_processor)
        bicubic = Image.Resampling.BICUBIC
        return image.resize((longer, longer), bicubic).resize((edge, edge), bicubic)


def _edge(image_processor: Any) -> int:
    """Height and width of what a CLIP image processor makes of a square."""
    size = image_processor.size
    edge: int = size.get("shortest_edge") or size.get("height")
    return edge
