"""How an image is opened, for every engine, the report and the trackers. Knows nothing of examples."""

from pathlib import Path
from typing import IO

from PIL import Image


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """The image in RGB, read as a whole.

    Args:
        source: the file, or its content.

    Raises:
        OSError: there is no such file, or it holds no image that Pillow can read.
    """
    with Image.open(source) as image:
        return image.convert("RGB")
