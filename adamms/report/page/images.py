"""Pictures inside the page: each once, downscaled where large, as many as the page has room for.

Knows files and bytes; Pillow is imported when the first is read.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path

ROOM = 12_000_000  # characters of all pictures together
SIDE = 512  # pixels; larger pictures are downscaled
PLAIN = 64_000  # bytes up to which a small picture goes in as it is
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
QUALITY = 82


@dataclass
class Album:
    """The pictures of a page, in the order in which they were asked for.

    Args:
        room: characters that they may take together.
        addresses: `data:` addresses, each picture once.
        left_out: files for which there was no room.
        unreadable: file -> why it could not be read.
    """

    room: int = ROOM
    addresses: list[str] = field(default_factory=list)
    left_out: set[Path] = field(default_factory=set)
    unreadable: dict[Path, str] = field(default_factory=dict)
    _files: dict[Path, int] = field(default_factory=dict)
    _contents: dict[str, int] = field(default_factory=dict)

    def place(self, file: Path) -> int | None:
        """The index of a file's picture among the addresses; None where it is not in the page."""
        if file in self._files:
            return self._files[file]
        if file in self.unreadable:
            return None
        if self.left_out:  # full: of very many pictures, no more are read
            self.left_out.add(file)
            return None
        try:
            content = file.read_bytes()
            key = sha256(content).hexdigest()
            if key not in self._contents:
                address = _address(content)
                if len(address) > self.room:
                    self.left_out.add(file)
                    return None
                self.room -= len(address)
                self._contents[key] = len(self.addresses)
                self.addresses.append(address)
        except (OSError, ValueError) as error:
            self.unreadable[file] = str(error)
            return None
        self._files[file] = self._contents[key]
        return self._files[file]


def _address(content: bytes) -> str:
    """The picture as a `data:` address.

    Raises:
        OSError, ValueError: what is no picture, or is damaged.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(content)) as image:
            kind = TYPES.get(image.format or "")
            if kind is not None and max(image.size) <= SIDE and len(content) <= PLAIN:
                image.load()
                return _data(kind, content)
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((SIDE, SIDE))
            flat = Image.new("RGB", upright.size, "white")
            layer = upright.convert("RGBA")
            flat.paste(layer, mask=layer.getchannel("A"))
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    written = BytesIO()
    flat.save(written, "JPEG", quality=QUALITY)
    return _data("image/jpeg", written.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
