"""What a line may say of its image: a path, or the picture itself as base64. Decodes no picture."""

import base64
import binascii
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from adamms.checkpoint.whole_file import write_whole
from adamms.errors import AdammsError, shortened

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
DATA = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)
BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{40,}={0,2}\s*")
# How the usual formats begin.
BEGINNINGS: Mapping[bytes, str] = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF8": "gif",
    b"RIFF": "webp",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
}


def image_file(text: str, folder: Path, pictures: Path) -> Path:
    """The file that a line's `image` means.

    Args:
        text: a path, a `data:` address, or base64.
        folder: what a path is relative to.
        pictures: where a picture that is in the line is written, under a name that follows from its content.

    Raises:
        AdammsError: there is no such file, or the text is no picture; with what to do.
    """
    if (start := DATA.match(text)) is not None:
        if start[1] is None:
            raise AdammsError(f"image {shortened(text)}: expected base64 in a data: address")
        content = _decoded(text[start.end() :])
        if content is None:
            raise AdammsError(f"image {shortened(text)}: its base64 is damaged")
        return _written(content, pictures)
    path = folder / text
    if _is_file(path):
        return path
    if URL.match(text):
        raise AdammsError(
            f"image {shortened(text)}: nothing is downloaded; expected a path, so download it yourself"
        )
    content = _decoded(text) if BASE64.fullmatch(text) else None
    if content is not None and _ending(content) is not None:
        return _written(content, pictures)
    if not text:
        raise AdammsError("'image' is empty; leave it out of a question without an image")
    kind = "a folder, expected a file" if _is_folder(path) else "no such file"
    raise AdammsError(f"image {shortened(str(path))}: {kind}")


def _decoded(text: str) -> bytes | None:
    """What base64 says, in the alphabet of files or of URLs; None if it says nothing."""
    compact = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        return None


def _ending(content: bytes) -> str | None:
    return next((ending for start, ending in BEGINNINGS.items() if content.startswith(start)), None)


def _written(content: bytes, pictures: Path) -> Path:
    """The picture in a file of its own."""
    name = blake2b(content, digest_size=16).hexdigest()
    file = pictures / f"{name}.{_ending(content) or 'image'}"
    if not file.exists():
        try:
            write_whole(file, content)
        except AdammsError as error:
            raise AdammsError(f"data.pictures: {error}") from error
    return file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # names that are too long, or that no file can have
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
