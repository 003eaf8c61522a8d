"""Whether a model can be asked an example: what its processor says of it before any weight is read.

Knows no engine and no weights.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from adamms.data.example import Example, Video
from adamms.engines.base import Limits
from adamms.engines.image import open_image
from adamms.engines.prompt import prompt, reads_parts, shows_video
from adamms.engines.video import Clip, inputs, open_video, sampled, shown
from adamms.errors import AdammsError, cause

Sizes = tuple[tuple[int, ...], ...]  # (width, height) of each image of a question, the shape of its clip
INSTEAD = 'Give its frames as several images: "images": ["frames/1.png", "frames/2.png"]'
SHOWN = 5  # examples in a message; then the check ends
LIKE_MARKUP = re.compile(r"[<\[|]")  # control tokens that ordinary text may be are left alone, such as "!"


def check_images(examples: Iterable[Example], advance: Callable[[int], None]) -> None:
    """Raise AdammsError, naming the examples, if an image, or the beginning of a video, does not decode."""
    _check("the data", examples, lambda example: [shown(medium) for medium in example.media], advance)


def check_askable(
    model: str,
    processor: Any,
    examples: Iterable[Example],
    advance: Callable[[int], None],
    limits: Limits | None = None,
) -> None:
    """Raise AdammsError, naming the examples, if a model's processor cannot make inputs of them.

    Every image and video is decoded and every prompt rendered, one at a time. What a processor says of an
    image follows from its size, so it is tried with blank images of every size; of a video likewise.

    Args:
        model: what it is called in the message.
        processor: as `load_processor` gives it.
        limits: what a prompt may have; None where none are known.
    """
    limits = limits or Limits()
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
        _check_limits(processor, example, limits)
        images = tuple(open_image(image).size for image in example.images)
        text = prompt(processor, example, None if parts else "")
        clips: list[Clip] = []
        if example.video is not None:
            clips = [open_video(example.video, sampled(processor, limits.frames))]
            if not shows_video(processor, example, None if parts else ""):
                raise AdammsError(f"it has a video, for which the chat template has no place. {INSTEAD}")
        sizes = images + tuple(clip.frames.shape for clip in clips)
        if callable_here and parts and sizes not in tried:
            _try(processor, text, images, clips)
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


def _check_limits(processor: Any, example: Example, limits: Limits) -> None:
    """Raise AdammsError if a prompt may not have as many images, or no video."""
    images, most = len(example.images), limits.images
    if images and most == 0:
        raise AdammsError("it has an image, and the model takes none: its processor has no part for images")
    if most is not None and images > most and limits.why:
        raise AdammsError(f"it has {images} images, and {limits.why}")
    if most is not None and images > most:
        raise AdammsError(
            f"it has {images} images, and a prompt may have {most}: engine.images_per_prompt={images}, if "
            f"the model takes as many"
        )
    if example.video is None or limits.videos != 0:
        return
    if getattr(processor, "video_processor", None) is None:
        why = "the model takes none: its processor has no part for videos"
        raise AdammsError(f"it has a video, and {why}. {INSTEAD}")
    raise AdammsError("it has a video, and a prompt may have none: engine.videos_per_prompt=1")


def _try(processor: Any, text: str, sizes: Sequence[tuple[int, int]], clips: Sequence[Clip]) -> None:
    """Raise AdammsError if the processor makes no inputs of a prompt with these clips and images of sizes."""
    blank = [Image.new("RGB", size) for size in sizes]
    given = {"images": [blank] if blank[1:] else blank} if blank else {}
    try:
        processor(text=[text], **given, **inputs(clips), return_tensors="pt")
    except Exception as error:
        shapes = ", ".join(f"{width} x {height}" for width, height in sizes)
        noun = f"{len(sizes)} images" if sizes[1:] else "an image"
        media = [f"{noun} of {shapes} pixels"] if sizes else []
        for clip in clips:
            count, height, width, _ = clip.frames.shape
            media.append(f"a video of {count} frames of {width} x {height} pixels")
        told = f" with {' and '.join(media)}" if media else ""
        raise AdammsError(f"the processor refuses the prompt{told} ({cause(error)})") from error


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


def _prompts_around(processor: Any) -> str:
    """The prompts of a question alone, of one with an image, and of one with a video.

    A template may refuse videos: then such questions are refused, and no others.
    """
    mark = None if reads_parts(processor) else ""
    alone = Example("", "", "")
    try:
        around = "".join(prompt(processor, e, mark) for e in (alone, replace(alone, image=Path("image"))))
    except AdammsError:
        raise
    except Exception as error:
        raise AdammsError(f"the model's chat template fails: {cause(error)}") from error
    try:
        return around + prompt(processor, replace(alone, video=Video((Path("video"),))), mark)
    except Exception:  # noqa: BLE001  (templates raise many kinds)
        return around
