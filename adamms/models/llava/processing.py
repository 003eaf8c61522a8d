"""The original LLaVA's processor: prompts by template, padded squares, a place for each patch of an image.

Source: haotian-liu/LLaVA, llava/{mm_utils,conversation}.py; of Yi-VL, 01-ai/Yi, VL/llava.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig

from adamms.models.llava.configuration import LlavaLlamaConfig
from adamms.models.llava.modeling import IMAGE_TOKEN_ID
from adamms.models.processing import ImageTextProcessor, turns

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


def _conversation(system: str, user: str, answer: str, after: str, end: str) -> str:
    return turns(
        system=system, user=user, image="<image>\n", after=after, prompt=answer, answer=f"{answer} ", end=end
    )


class LlavaLlamaProcessor(ImageTextProcessor):
    """Texts with `<image>` and images -> the model's inputs.

    Args:
        image_processor: the vision tower's, CLIP's.
        tokenizer: of the language model.
        patches: of an image; each takes the place of a token.
        pad: whether images are first padded to squares, with the mean colour.
        chat_template: one of `templates`, or another that writes `<image>` for an image.
    """

    model_input_names = ("input_ids", "attention_mask", "pixel_values")
    templates: ClassVar[dict[str, str]] = {
        "vicuna": _conversation(f"{_VICUNA} ", "USER: ", "ASSISTANT:", after=" ", end="</s>"),
        "yi": _conversation(f"{_YI}\n\n### ", "Human: ", "Assistant:", after="\n### ", end="\n### "),
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
        self.image_tokens = patches
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

    @property
    def _place(self) -> int:
        return IMAGE_TOKEN_ID

    def _square(self, picture: Image.Image) -> Image.Image:
        if not self.pad or picture.width == picture.height:
            return picture
        side = max(picture.size)
        colour = tuple(int(255 * mean) for mean in self.image_processor.image_mean)
        square = Image.new("RGB", (side, side), colour)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return square
