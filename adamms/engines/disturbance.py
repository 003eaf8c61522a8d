"""Small changes of images that should not change the answer. Questions stay as they are."""

import hashlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from adamms.checkpoint.whole_file import write_whole
from adamms.data.example import Example
from adamms.engines.image import open_image

SHIFT = 1  # at most so many pixels in each direction
BRIGHTNESS = (0.85, 1.1)
NOISE = 6.0  # standard deviation, of 255


def disturbed(example: Example, folder: Path, seed: int = 0) -> Example:
    """The example with its images a little brighter or darker, shifted and noisy; written into `folder`.

    The same example is always changed in the same way. An example without an image is returned as it is.
    A file is named after its content: many examples, and many runs, may share a folder.
    """
    if example.image is None:
        return example
    rng = np.random.default_rng([seed, *example.id.encode()])
    first, *more = [_disturbed(image, folder, rng) for image in example.images]
    return replace(example, image=first, more_images=tuple(more))


def _disturbed(image: Path, folder: Path, rng: np.random.Generator) -> Path:
    values = np.asarray(open_image(image)).astype(np.float64)  # (height, width, 3)
    values = values * rng.uniform(*BRIGHTNESS) + rng.normal(0, NOISE, values.shape)
    values = np.roll(values, rng.integers(-SHIFT, SHIFT, size=2, endpoint=True), axis=(0, 1))
    written = BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(written, format="png")
    raw = written.getvalue()
    name = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return write_whole(folder / f"{name}.png", raw)
