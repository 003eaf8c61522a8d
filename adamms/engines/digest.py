"""What makes two questions to a model the same one: digests of text and pixels."""

import hashlib
import json
from pathlib import Path

from adamms.data.example import Example
from adamms.engines.image import shown_otherwise_before
from adamms.errors import AdammsError

AS_SEEN = "as a person sees it"  # in the digest of an example whose image was once read otherwise


def example_digest(example: Example) -> str:
    """A digest of what the model is asked: the question's text and the images' bytes, nothing else.

    Images that versions up to 0.3 read wrongly get a mark of their own, so that answers to what the models
    saw then are not taken.

    Raises:
        AdammsError: an image that cannot be read.
    """
    seen: list[str | None] = [part for image in example.images for part in _seen(image)]
    return digest(json.dumps([example.question, *(seen or [None])]).encode())


def _seen(image: Path) -> list[str]:
    try:
        content = image.read_bytes()
    except OSError as error:
        raise AdammsError(f"image {image}: {error.strerror or error}") from error
    return [digest(content), *([AS_SEEN] if shown_otherwise_before(content) else [])]


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
