"""How an image is opened, for every engine, the check of the data, the report and W&B.

Knows nothing of examples.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from adamms.data.example import Medium
from adamms.errors import AdammsError, shortened

# EXIF's orientation -> what makes the image upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION, BITS, PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes of more than 8 bits
KEYED = ("1", "L", "RGB", *DEEP)  # modes in which transparency is a key colour, not an alpha channel
# Raw modes of PNG whose key colour (tRNS) is in the file's values, not in those of 8 bits -> the factor.
KEY_SCALE = {"1": 255, "L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
WHITES = (255, 65535)  # of numbers whose format says nothing of a range
# Where a PNG may have an orientation; looking for it there would decode the image.
PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """The image as a person sees it, in RGB of 8 bits: upright (EXIF), on white, the first frame.

    More than 8 bits are scaled by the range of the format: 65535 is white in 16 bits, 4095 in a TIFF of 12.
    32-bit integers and floats have no such range. Their black is 0, or the least value if that is negative;
    white is 1 if no value exceeds it, 255 or 65535 if the greatest value is in the upper half of that, else
    the greatest value. NaN is black.

    Args:
        source: the file, or its content.

    Raises:
        AdammsError: there is no such file, or it holds no image that Pillow can read as a whole.
    """
    name = f"image {shortened(str(source))}" if isinstance(source, Path) else "the image"
    try:
        with _opened(source) as image:
            image.seek(0)
            raw = str(image.tile[0].args) if image.tile else ""  # gone after loading
            image.load()
            return _upright(image, _on_white(image, raw))
    except FileNotFoundError as error:
        raise AdammsError(f"{name}: no such file") from error
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise AdammsError(f"{name} does not decode ({_cause(error)})") from error


def is_photograph(medium: Medium) -> bool:
    """Whether it is a JPEG by its name, or a video: a PNG would be no better, larger, and slowly made."""
    return not isinstance(medium, Path) or medium.suffix.lower() in (".jpg", ".jpeg")


def shown_otherwise_before(content: bytes) -> bool:
    """Whether models up to adamms 0.3 saw other pixels: turned, transparent as black, deep values cut off.

    Decodes only images whose header has an orientation, transparency or more than 8 bits.

    Args:
        content: of the file; what is no image was never shown.
    """
    try:
        with _opened(BytesIO(content)) as image:
            turned = image.format != "PNG" or any(mark in content for mark in PNG_EXIF)
            special = image.mode in DEEP or image.has_transparency_data
            if not special and not (turned and _orientation(image) in UPRIGHT):
                return False
            image.info.pop("transparency", None)  # it was not looked at
            before = image.convert("RGB")
        now = open_image(BytesIO(content))
    except Exception:  # noqa: BLE001  (as in `open_image`)
        return False
    return before.size != now.size or before.tobytes() != now.tobytes()


@contextmanager
def _opened(source: Path | IO[bytes]) -> Iterator[ImageFile]:
    """Without Pillow's warnings, as of damaged EXIF: what cannot be shown is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(source) as image:
            if image.format == "EPS":
                raise AdammsError("EPS is a program, which Ghostscript would run; save it as PNG")
            yield image


def _on_white(image: Image.Image, raw: str) -> Image.Image:
    """In RGB, without transparency.

    Args:
        image: loaded.
        raw: Pillow's name for the layout of the file's values.
    """
    if image.has_transparency_data and image.mode not in KEYED:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    shown = _eight_bits(image) if image.mode in DEEP else image.convert("RGB")
    key = image.info.get("transparency")
    if key is None:
        return shown
    values = np.asarray(image.convert("L") if image.mode == "1" else image)  # (height, width[, 3])
    scale = KEY_SCALE.get(raw, 1)
    wanted = np.floor(np.asarray(key) * scale)
    matching = (values == wanted).reshape(*values.shape[:2], -1).all(axis=-1)
    shown.paste("white", mask=Image.fromarray(matching))
    return shown


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image of one deep channel in RGB; its range as in `open_image`."""
    values = np.asarray(image).astype(np.float64)
    black, white = _range(image, values[np.isfinite(values)])
    values = np.nan_to_num((values - black) / (white - black)).clip(0, 1)
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(PHOTOMETRIC) == 0:  # white is zero, which Pillow minds for 8 bits only
        values = 1 - values
    return Image.fromarray(np.floor(values * 255 + 0.5).astype(np.uint8)).convert("RGB")


def _range(image: Image.Image, values: np.ndarray) -> tuple[float, float]:
    """The values of black and white.

    Args:
        values: the finite ones.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        return 0.0, 2.0 ** tags.get(BITS, (16,))[0] - 1
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return 0.0, 65535.0
    least, most = float(values.min(initial=0)), float(values.max(initial=0))
    if most <= 1:
        return least, 1.0
    return least, next((white for white in WHITES if white / 2 < most <= white), most)


def _upright(image: Image.Image, shown: Image.Image) -> Image.Image:
    turn = UPRIGHT.get(_orientation(image))
    return shown if turn is None else shown.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """By EXIF; 1, upright, where EXIF is absent or damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001  (as in `open_image`)
        return 1


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the name of the file
    return str(error) or type(error).__name__
