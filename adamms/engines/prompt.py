"""The prompt: what a model is shown of an example, built by its own processor; the same for every engine."""

from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoProcessor

from adamms.data.example import Example
from adamms.errors import AdammsError


def load_processor(folder: Path) -> Any:
    """The processor (tokenizer, image processor, chat template) in a checkpoint folder.

    Raises:
        AdammsError: there is none that transformers can load, or it has no chat template.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise AdammsError(
            f"{folder}: transformers cannot load its processor ({type(error).__name__}: {str(error)[:300]})"
        ) from error
    if getattr(processor, "chat_template", None) is None:
        raise AdammsError(f"{folder}: the processor has no chat template to build prompts with")
    return processor


def prompt(processor: Any, example: Example) -> str:
    """The question in the model's chat template, with a placeholder where the image goes."""
    text = {"type": "text", "text": example.question}
    content = [text] if example.image is None else [{"type": "image"}, text]
    rendered: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return rendered


def open_image(path: Path) -> Image.Image:
    """The image in RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")
