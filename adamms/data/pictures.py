"""What a row may say of a picture: a path, an address, or the picture itself. Decodes none."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from adamms.checkpoint.whole_file import write_whole
from adamms.data.downloads import Downloads
from adamms.errors import AdammsError, shortened

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
DATA = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)
BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{40,}={0,2}\s*")
NO_FILE = Path("not written yet")
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


@dataclass(frozen=True)
class Pictures:
    """What turns the pictures of rows into files.

    Args:
        base: the folder that paths are relative to.
        kept: the folder for pictures that have no file yet, each under a name that follows from its content.
        downloads: what gets those that are addresses.
    """

    base: Path
    kept: Path
    downloads: Downloads

    def file(self, given: Any) -> Path:
        """The file of one picture, as `found` has it; written or downloaded if it is none yet.

        Raises:
            AdammsError: as `found`; or it cannot be downloaded or written.
        """
        found = self.found(given)
        if isinstance(found, Path):
            return found
        return self._written(found) if isinstance(found, bytes) else self._downloaded(found)

    def checked(self, given: Any) -> Path:
        """Its file, as `found` has it; NO_FILE where that is still to be written or downloaded."""
        found = self.found(given)
        return found if isinstance(found, Path) else NO_FILE

    def found(self, given: Any) -> Path | bytes | str:
        """Its file if it has one, what is in the file, or an http address; asks nobody, writes nothing.

        Args:
            given: a path, an http address, a `data:` address or base64; the bytes of a file; or a mapping of
                `bytes`, `path` or `url`, as datasets and OpenAI have it.

        Raises:
            AdammsError: there is no such file, or it is no picture; with what to do.
        """
        if isinstance(given, Mapping):
            given = given.get("bytes") or given.get("path") or given.get("url")
        if isinstance(given, bytes):
            return given
        if isinstance(given, int | float) and not isinstance(given, bool):
            given = str(given)
        if not isinstance(given, str):
            raise AdammsError(f"an image is a {type(given).__name__}; expected a path")
        return self._of_text(given)

    def _of_text(self, text: str) -> Path | bytes | str:
        if (start := DATA.match(text)) is not None:
            if start[1] is None:
                raise AdammsError(f"image {shortened(text)}: expected base64 in a data: address")
            content = _decoded(text[start.end() :])
            if content is None:
                raise AdammsError(f"image {shortened(text)}: its base64 is damaged")
            if _ending(content) is None:
                raise AdammsError(f"image {shortened(text)}: its base64 is no picture")
            return content
        path = self.base / (Path(text).expanduser() if text.startswith("~/") else text)
        if _is_file(path):
            return path
        if URL.match(text):
            self.downloads.request(text)
            return text
        content = _decoded(text) if BASE64.fullmatch(text) else None
        if content is not None and _ending(content) is not None:
            return content
        if not text:
            raise AdammsError("'image' is empty; leave it out of a question without an image")
        kind = "a folder, expected a file" if _is_folder(path) else "no such file"
        raise AdammsError(f"image {shortened(str(path))}: {kind}")

    def _downloaded(self, url: str) -> Path:
        """The picture at an address: as it was when it was first asked for, if that is kept."""
        note = self.kept / f"{_digest(url.encode())}.address"
        if self.downloads.allowed and note.is_file():
            file = self.kept / note.read_text(encoding="utf-8").split()[0]
            if file.is_file():
                return file
        content = self.downloads.get(url)
        if _ending(content) is None:
            raise AdammsError(f"image {shortened(url)}: what is there is no picture")
        file = self._written(content)
        write_whole(note, f"{file.name} {url}\n")
        return file

    def _written(self, content: bytes) -> Path:
        """The picture in a file of its own."""
        file = self.kept / f"{_digest(content)}.{_ending(content) or 'image'}"
        if not file.exists():
            try:
                write_whole(file, content)
            except AdammsError as error:
                raise AdammsError(f"data.pictures: {error}") from error
        return file


def _decoded(text: str) -> bytes | None:
    """What base64 says, in the alphabet of files or of URLs; None if it says nothing."""
    compact = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        return None


def _ending(content: bytes) -> str | None:
    return next((ending for start, ending in BEGINNINGS.items() if content.startswith(start)), None)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


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
