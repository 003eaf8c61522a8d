"""Whether a model can be asked an example: what its processor says of it before any weight is read.

Knows no engine and no weights.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from adamms.data.example import Example
from adamms.engines.image import open_image
from adamms.engines.prompt import prompt, reads_parts
from adamms.errors import AdammsError, cause

Sizes = tuple[tuple[int, int], ...]  # (width, height) in pixels of each image of a question
SHOWN = 5  # examples in a message; then the check ends
LIKE_MARKUP = re.compile(r"[<\[|]")  # control tokens that ordinary text may be are left alone, such as "!"


def check_images(examples: Iterable[Example], advance: Callable[[int], None]) -> None:
    """Raise AdammsError, naming the examples, if an image does not decode. One is held at a time."""
    _check("the data", examples, _sizes, advance)


def check_askable(
    model: str,
    processor: Any,
    examples: Iterable[Example],
    advance: Callable[[int], None],
    most_images: int | None = None,
) -> None:
    """Raise AdammsError, naming the examples, if a model's processor cannot make inputs of them.

    Every image is decoded and every prompt rendered, one at a time. What a processor says of an image
    follows from its size, so it is tried with blank images of every size.

    Args:
        model: what it is called in the message.
        processor: as `load_processor` gives it.
        most_images: that a prompt may have; 0 for a model that takes none, None where no limit is known.
    """
    reserved = reserved_tokens(processor)
    parts = reads_parts(processor)
    # A tokenizer alone, and processors from a model's own Python files, are called by vLLM in its own way.
    callable_here = hasattr(processor, "image_processor") and not type(processor).__module__.startswith(
        "transformers_modules"
    )
    tried: set[Sizes] = set()

    def ask(example: Example) -> None:
        words = "\n".join(part for part in example.parts if isinstance(part, str))
        if reserved is not None and (found := reserved.search(words)) is not None:
            raise AdammsError(
                f"the question has {found[0]!r}, which the model takes for a control token and not for text; "
                f"write it in another way"
            )
        sizes = _sizes(example)
        if sizes and most_images == 0:
            raise AdammsError(
                "it has an image, and the model takes none: its processor has no part for images"
            )
        if most_images is not None and len(sizes) > most_images:
            raise AdammsError(
                f"it has {len(sizes)} images, and a prompt may have {most_images}: "
                f"engine.images_per_prompt={len(sizes)}, if the model takes as many"
            )
        text = prompt(processor, example, None if parts else "")
        if callable_here and parts and sizes not in tried:
            _try(processor, text, sizes)
            tried.add(sizes)

    _check(model, examples, ask, advance)


def reserved_tokens(processor: Any) -> re.Pattern[str] | None:
    """What finds the control tokens in a text: those that prompts are made of; None if there are none.

    They are the placeholders of the processor, the tokens that the tokenizer has a name for (start, end,
    padding) and the special tokens that the chat template writes. Others may be asked with: they are the
    marks of places in an image, in models that know such.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    named = [value for name, value in vars(processor).items() if name.endswith("_token")]
    named += [getattr(processor, "word", None), *tokenizer.special_tokens_map.values()]
    written = _prompts_around(processor)
    special = [token for token in tokenizer.all_special_tokens if token in written]
    tokens = {token for token in (*named, *special) if isinstance(token, str) and LIKE_MARKUP.search(token)}
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first))) if tokens else None


def _try(processor: Any, text: str, sizes: Sizes) -> None:
    """Raise AdammsError if the processor makes no inputs of a prompt with images of these sizes."""
    blank = [Image.new("RGB", size) for size in sizes]
    given = {"images": [blank] if blank[1:] else blank} if blank else {}
    try:
        processor(text=[text], **given, return_tensors="pt")
    except Exception as error:
        shapes = ", ".join(f"{width} x {height}" for width, height in sizes)
        noun = f"{len(sizes)} images" if sizes[1:] else "an image"
        images = f" with {noun} of {shapes} pixels" if sizes else ""
        raise AdammsError(f"the processor refuses the prompt{images} ({cause(error)})") from error


def _check(
    model: str,
    examples: Iterable[Example],
    ask: Callable[[Example], object],
    advance: Callable[[int], None],
) -> None:
    problems: list[str] = []
    for example in examples:
        try:
            ask(example)
        except Exception as error:  # noqa: BLE001  (processors and templates raise many kinds)
            problems.append(f"{example.name}: {cause(error)}")
            if len(problems) == SHOWN:
                break
        advance(1)
    if problems:
        raise AdammsError("\n  ".join([f"{model} cannot be asked:", *problems]))


def _sizes(example: Example) -> Sizes:
    """The images' sizes, once they have been decoded."""
    return tuple(open_image(image).size for image in example.images)


def _prompts_around(processor: Any) -> str:
    """The prompts of a question with an image and of one without."""
    mark = None if reads_parts(processor) else ""
    try:
        return "".join(prompt(processor, Example("", "", "", image), mark) for image in (None, Path("image")))
    except AdammsError:
        raise
    except Exception as error:
        raise AdammsError(f"the model's chat template fails: {cause(error)}") from error
