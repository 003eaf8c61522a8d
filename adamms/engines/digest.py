"""What makes two questions to a model the same one: digests of text and pixels."""

import hashlib
import json

from adamms.data.example import Example
from adamms.engines.image import shown_otherwise_before
from adamms.errors import AdammsError

AS_SEEN = "as a person sees it"  # in the digest of an example whose image was once read otherwise


def example_digest(example: Example) -> str:
    """A digest of what the model is asked: the question's text and the image's bytes, nothing else.

    Images that versions up to 0.3 read wrongly get a mark of their own, so that answers to what the models
    saw then are not taken.

    Raises:
        AdammsError: an image that cannot be read.
    """
    if example.image is None:
        return digest(json.dumps([example.question, None]).encode())
    try:
        content = example.image.read_bytes()
    except OSError as error:
        raise AdammsError(f"image {example.image}: {error.strerror or error}") from error
    mark = [AS_SEEN] if shown_otherwise_before(content) else []
    return digest(json.dumps([example.question, digest(content), *mark]).encode())


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
