"""mPLUG-Owl2's processor: published prompts, and pixels of any image squeezed into a square.

Source: X-PLUG/mPLUG-Owl, mPLUG-Owl2/mplug_owl2/{mm_utils,conversation}.py and evaluate/evaluate_vqa.py.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

from PIL import Image
from transformers import CLIPImageProcessor

from adamms.errors import AdammsError
from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config
from adamms.models.processing import ImageTextProcessor, turns

IMAGE_TOKEN = "<|image|>"
_BRIEFLY = " Answer the question using a single word or phrase."


def _conversation(after: str, prompt: str) -> str:
    """The published conversation, which has no system text."""
    return turns(
        user="USER: ", image=IMAGE_TOKEN, after=after, prompt=prompt, answer="ASSISTANT: ", end="</s>"
    )


class MPLUGOwl2Processor(ImageTextProcessor):
    """Tokenizer and CLIP image processor of mPLUG-Owl2.

    Args:
        image_processor: the checkpoint's, a CLIP image processor for squares.
        tokenizer: the checkpoint's, Llama's; it needs no image token.
        chat_template: one of `templates`, or another that writes `<|image|>` for an image.
        image_seq_length: embeddings that the model makes of an image.
    """

    word: ClassVar[str] = IMAGE_TOKEN
    # The prompt for visual questions ends with a space, as published.
    templates: ClassVar[dict[str, str]] = {
        "chat": _conversation(after=" ", prompt="ASSISTANT:"),
        "vqa": _conversation(after=f"{_BRIEFLY} ", prompt="ASSISTANT: "),
    }

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | dict[str, str] | None = None,
        image_seq_length: int = 65,
    ) -> None:
        self.image_seq_length = self.image_tokens = image_seq_length
        super().__init__(image_processor, tokenizer, chat_template=chat_template or self.templates["chat"])

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

    def _start(self, pieces: list[str]) -> int:
        """As published, a prompt that starts with an image has its begin-of-text token behind it."""
        return next((index for index, piece in enumerate(pieces) if piece), 0)

    def _square(self, picture: Image.Image) -> Image.Image:
        """The picture at the model's size, stretched to a square first.

        Both steps use PIL's bicubic filter, as the published code does; the image processor then has
        nothing to resize or crop.
        """
        longer, edge = max(picture.size), _edge(self.image_processor)
        bicubic = Image.Resampling.BICUBIC
        return picture.resize((longer, longer), bicubic).resize((edge, edge), bicubic)


def _edge(image_processor: Any) -> int:
    """Height and width of what a CLIP image processor makes of a square."""
    size = image_processor.size
    edge: int = size.get("shortest_edge") or size.get("height")
    return edge
