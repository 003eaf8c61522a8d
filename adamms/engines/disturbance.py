"""Small changes of images and videos that should not change the answer. Questions stay as they are."""

import hashlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from adamms.data.example import Example
from adamms.engines.image import open_image
from adamms.system.whole_file import write_whole

SHIFT = 1  # at most so many pixels in each direction
BRIGHTNESS = (0.85, 1.1)
NOISE = 6.0  # standard deviation, of 255


def disturbed(example: Example, folder: Path, seed: int = 0) -> Example:
    """The example with its media a little brighter or darker, shifted and noisy; images go into `folder`.

    The same example is always changed in the same way. An example without an image and a video is returned
    as it is. A file is named after its content: many examples, and many runs, may share a folder. A video
    is changed when it is opened, all of its frames alike but for the noise.
    """
    seeds = (seed, *example.id.encode())
    if example.video is not None:
        example = replace(example, video=replace(example.video, disturbance=seeds))
    if example.image is None:
        return example
    rng = np.random.default_rng(seeds)
    first, *more = [_disturbed(image, folder, rng) for image in example.images]
    return replace(example, image=first, more_images=tuple(more))


def changed(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures of one size, all changed alike but for the noise.

    Args:
        pictures: shape (pictures, height, width, 3), 8 bits, as the result.
    """
    brightness = rng.uniform(*BRIGHTNESS)
    noisy = (picture * brightness + rng.normal(0, NOISE, picture.shape) for picture in pictures)
    seen = np.stack([values.clip(0, 255).astype(np.uint8) for values in noisy])
    return np.roll(seen, rng.integers(-SHIFT, SHIFT, size=2, endpoint=True), axis=(1, 2))


def _disturbed(image: Path, folder: Path, rng: np.random.Generator) -> Path:
    (picture,) = changed(np.asarray(open_image(image))[None], rng)
    written = BytesIO()
    Image.fromarray(picture).save(written, format="png")
    raw = written.getvalue()
    name = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return write_whole(folder / f"{name}.png", raw)
