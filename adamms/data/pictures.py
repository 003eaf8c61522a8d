"""What a row may say of a picture or a video: a path, an address, or the thing itself. Decodes none."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from adamms.data.downloads import Downloads
from adamms.errors import AdammsError, kind_of, shortened
from adamms.system.whole_file import write_whole

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
DATA = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)
BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{40,}={0,2}\s*")
NO_FILE = Path("not written yet")
IMAGE, VIDEO = "image", "video"
# How the usual formats of either kind begin: bytes, where they stand, and the ending of a file's name.
BEGINNINGS: Mapping[str, Sequence[tuple[bytes, int, str]]] = {
    IMAGE: (
        (b"\x89PNG", 0, "png"),
        (b"\xff\xd8\xff", 0, "jpg"),
        (b"GIF8", 0, "gif"),
        (b"WEBP", 8, "webp"),
        (b"BM", 0, "bmp"),
        (b"II*\0", 0, "tiff"),
        (b"MM\0*", 0, "tiff"),
    ),
    VIDEO: (
        (b"ftyp", 4, "mp4"),
        (b"\x1aE\xdf\xa3", 0, "mkv"),  # and WebM
        (b"AVI ", 8, "avi"),
        (b"GIF8", 0, "gif"),
        (b"OggS", 0, "ogv"),
        (b"\0\0\1\xba", 0, "mpg"),
        (b"FLV\1", 0, "flv"),
        (b"G@", 0, "ts"),
        (b"0&\xb2u", 0, "wmv"),
    ),
}
NOUNS = {IMAGE: "picture", VIDEO: "video"}


@dataclass(frozen=True)
class Pictures:
    """What turns the pictures and videos of rows into files.

    Args:
        base: the folder that paths are relative to.
        kept: the folder for those that have no file yet, each under a name that follows from its content.
        downloads: what gets those that are addresses.
    """

    base: Path
    kept: Path
    downloads: Downloads

    def file(self, given: Any, kind: str = IMAGE) -> Path:
        """The file of one picture or video, as `found` has it; written or downloaded if it is none yet.

        Raises:
            AdammsError: as `found`; or it cannot be downloaded or written.
        """
        found = self.found(given, kind)
        if isinstance(found, Path):
            return found
        return self._written(found, kind) if isinstance(found, bytes) else self._downloaded(found, kind)

    def checked(self, given: Any, kind: str = IMAGE) -> Path:
        """Its file, as `found` has it; NO_FILE where that is still to be written or downloaded."""
        found = self.found(given, kind)
        return found if isinstance(found, Path) else NO_FILE

    def found(self, given: Any, kind: str) -> Path | bytes | str:
        """Its file if it has one, what is in the file, or an http address; asks nobody, writes nothing.

        Args:
            given: a path, an http address, a `data:` address or base64; the bytes of a file; or a mapping of
                `bytes`, `path` or `url`, as datasets and OpenAI have it.
            kind: IMAGE or VIDEO.

        Raises:
            AdammsError: there is no such file, or it is not of this kind; with what to do.
        """
        if isinstance(given, Mapping):
            given = given.get("bytes") or given.get("path") or given.get("url")
        if isinstance(given, bytes):
            return given
        if isinstance(given, int | float) and not isinstance(given, bool):
            given = str(given)
        if not isinstance(given, str):
            article = "an" if kind == IMAGE else "a"
            raise AdammsError(f"{article} {kind} is {kind_of(given)}; expected a path")
        return self._of_text(given, kind)

    def _of_text(self, text: str, kind: str) -> Path | bytes | str:
        if (start := DATA.match(text)) is not None:
            if start[1] is None:
                raise AdammsError(f"{kind} {shortened(text)}: expected base64 in a data: address")
            content = _decoded(text[start.end() :])
            if content is None:
                raise AdammsError(f"{kind} {shortened(text)}: its base64 is damaged")
            if _ending(content, kind) is None:
                raise AdammsError(f"{kind} {shortened(text)}: its base64 is no {NOUNS[kind]}")
            return content
        path = self.base / (Path(text).expanduser() if text.startswith("~/") else text)
        if _is_file(path):
            return path
        if URL.match(text):
            self.downloads.request(text, kind)
            return text
        content = _decoded(text) if BASE64.fullmatch(text) else None
        if content is not None and _ending(content, kind) is not None:
            return content
        if not text:
            article = "an" if kind == IMAGE else "a"
            raise AdammsError(f"{kind!r} is empty; leave it out of a question without {article} {kind}")
        what = "a folder, expected a file" if _is_folder(path) else "no such file"
        raise AdammsError(f"{kind} {shortened(str(path))}: {what}")

    def _downloaded(self, url: str, kind: str) -> Path:
        """What is at an address: as it was when it was first asked for, if that is kept."""
        note = self.kept / f"{_digest(url.encode())}.address"
        if self.downloads.allowed and note.is_file():
            file = self.kept / note.read_text(encoding="utf-8").split()[0]
            if file.is_file():
                return file
        content = self.downloads.get(url, kind)
        if _ending(content, kind) is None:
            raise AdammsError(f"{kind} {shortened(url)}: what is there is no {NOUNS[kind]}")
        file = self._written(content, kind)
        write_whole(note, f"{file.name} {url}\n")
        return file

    def _written(self, content: bytes, kind: str) -> Path:
        """The content in a file of its own."""
        file = self.kept / f"{_digest(content)}.{_ending(content, kind) or kind}"
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


def _ending(content: bytes, kind: str) -> str | None:
    return next((ending for start, at, ending in BEGINNINGS[kind] if content.startswith(start, at)), None)


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
