"""Pictures inside the page: each once, downscaled where large, as many as the page has room for.

Knows files and bytes.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from adamms.engines.image import open_image

ROOM = 12_000_000  # characters of all pictures together
SIDE = 512  # pixels; larger pictures are downscaled
PLAIN = 64_000  # bytes up to which a picture goes in without loss, as PNG; larger ones are JPEG
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
    """The picture as a `data:` address: as it is seen by the models, downscaled where it is large.

    Raises:
        OSError, ValueError: no picture that Pillow can read.
    """
    from PIL.Image import DecompressionBombError

    try:
        image = open_image(BytesIO(content))
    except DecompressionBombError as error:
        raise ValueError(str(error)) from error
    image.thumbnail((SIDE, SIDE))
    for kind, more in (("png", {}), ("jpeg", {"quality": QUALITY})):
        written = BytesIO()
        image.save(written, kind, **more)
        if written.tell() <= PLAIN:
            break
    return f"data:image/{kind};base64,{b64encode(written.getvalue()).decode('ascii')}"
