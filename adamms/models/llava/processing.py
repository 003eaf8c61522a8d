"""The original LLaVA's processor: prompts by template, padded squares, a place for each patch of an image.

Source: haotian-liu/LLaVA, llava/{mm_utils,conversation}.py; of Yi-VL, 01-ai/Yi, VL/llava.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from PIL import Image
from transformers import BatchFeature, CLIPImageProcessor, CLIPVisionConfig, ProcessorMixin

from adamms.errors import AdammsError, check_choice
from adamms.models.llava.configuration import LlavaLlamaConfig
from adamms.models.llava.modeling import IMAGE_TOKEN_ID

IMAGE_TOKEN = "<image>"

_VICUNA = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the human's questions."
)
_YI = (
    "This is a chat between an inquisitive human and an AI assistant. Assume the role of the AI assistant. "
    "Read all the images carefully, and respond to the human's questions with informative, helpful, detailed "
    "and polite answers. "
    "这是一个好奇的人类和一个人工智能助手之间的对话。假设你扮演这个AI助手的角色。"
    "仔细阅读所有的图像，并对人类的问题做出信息丰富、有帮助、详细的和礼貌的回答。"  # noqa: RUF001
)
_TURNS = """
{{- 'SYSTEM' -}}
{%- for message in messages -%}
{{- 'USER' if message.role == 'user' else 'ASSISTANT ' -}}
{%- if message.content is string -%}{{- message.content -}}
{%- else -%}{%- for part in message.content -%}
{{- '<image>\\n' if part.type == 'image' else part.text -}}
{%- endfor -%}{%- endif -%}
{{- 'AFTER' if message.role == 'user' else 'END' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT' -}}{%- endif -%}
"""


def _template(**words: str) -> str:
    template = _TURNS
    for key, text in words.items():
        template = template.replace(key, text.replace("'", "\\'"))
    return template


class LlavaLlamaProcessor(ProcessorMixin):
    """Texts with `<image>` and images -> the model's inputs.

    Args:
        image_processor: the vision tower's, CLIP's.
        tokenizer: of the language model.
        patches: of an image, each of which gets a token's place.
        pad: whether images are first padded to squares, with the mean colour.
        chat_template: one of `templates`, or another that writes `<image>` for an image.
    """

    templates: ClassVar[dict[str, str]] = {
        "vicuna": _template(
            SYSTEM=f"{_VICUNA} ", USER="USER: ", AFTER=" ", END="</s>", ASSISTANT="ASSISTANT:"
        ),
        "yi": _template(
            SYSTEM=f"{_YI}\\n\\n### ", USER="Human: ", AFTER="\\n### ", END="\\n### ", ASSISTANT="Assistant:"
        ),
    }

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patches: int = 576,
        pad: bool = True,
        chat_template: str | None = None,
    ) -> None:
        self.patches, self.pad = patches, pad
        super().__init__(image_processor, tokenizer, chat_template=chat_template or self.templates["vicuna"])

    @classmethod
    def from_published(cls, folder: Path, config: LlavaLlamaConfig, tokenizer: Any) -> Self:
        """The processor of a published checkpoint: images as its vision tower's folder says."""
        place = config.tower(folder)
        tower = CLIPVisionConfig.from_pretrained(place)
        return cls(
            CLIPImageProcessor.from_pretrained(place),
            tokenizer,
            (tower.image_size // tower.patch_size) ** 2,
            config.image_aspect_ratio == "pad",
            cls.templates["yi" if config.mm_projector_type.endswith("_Norm") else "vicuna"],
        )

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        padding: bool = False,
        padding_side: str = "left",
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """input_ids and attention_mask (batch, length), with images pixel_values (images, 3, height, width).

        Raises:
            AdammsError: no text, or another number of images than of `<image>`.
        """
        if text is None:
            raise AdammsError("LLaVA's processor needs a text")
        check_choice("padding_side", padding_side, ("left", "right"))
        texts = [text] if isinstance(text, str) else list(text)
        pictures = [images] if isinstance(images, Image.Image) else list(images or ())
        if (places := sum(words.count(IMAGE_TOKEN) for words in texts)) != len(pictures):
            raise AdammsError(f"the text has {IMAGE_TOKEN} {places} times; {len(pictures)} images were given")
        rows = [self._tokens(words) for words in texts]
        longest = max(map(len, rows)) if padding else 0
        fill = [self.tokenizer.pad_token_id or 0]
        data: dict[str, Any] = {"input_ids": [], "attention_mask": []}
        for row in rows:
            missing = max(longest - len(row), 0)
            for key, values, filling in (("input_ids", row, fill), ("attention_mask", [1] * len(row), [0])):
                more = filling * missing
                data[key].append(more + values if padding_side == "left" else values + more)
        if pictures:
            data |= self.image_processor([self._square(p) for p in pictures], return_tensors=return_tensors)
        return BatchFeature(data, tensor_type=return_tensors)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values"]

    def _tokens(self, words: str) -> list[int]:
        """Ids; the text between images is tokenised piece by piece, what begins a text once."""
        ids: list[int] = []
        for index, piece in enumerate(words.split(IMAGE_TOKEN)):
            ids += [IMAGE_TOKEN_ID] * (self.patches * bool(index))
            ids += self.tokenizer(piece, add_special_tokens=index == 0)["input_ids"]
        return ids

    def _square(self, picture: Image.Image) -> Image.Image:
        picture = picture.convert("RGB")
        if not self.pad or picture.width == picture.height:
            return picture
        side = max(picture.size)
        colour = tuple(int(255 * mean) for mean in self.image_processor.image_mean)
        square = Image.new("RGB", (side, side), colour)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return square
