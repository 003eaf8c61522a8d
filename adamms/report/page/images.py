"""Pictures inside the page: each once, downscaled where large, as many as the page has room for.

Knows files and bytes.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from adamms.engines.image import is_photograph, open_image
from adamms.errors import AdammsError

ROOM = 12_000_000  # characters of all pictures together
SIDE = 512  # pixels; larger pictures are downscaled
PLAIN = 64_000  # bytes up to which a picture goes in without loss, as PNG; larger ones are JPEG
QUALITY = 82


@dataclass
class Album:
    """The pictures of a page, in the order in which they were asked for.

    Args:
        room: characters that they may take together.
        left_out: files for which there was no room.
        unreadable: file -> why it could not be read.
    """

    room: int = ROOM
    left_out: set[Path] = field(default_factory=set)
    unreadable: dict[Path, str] = field(default_factory=dict)
    _files: dict[Path, int | None] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)

    @property
    def addresses(self) -> list[str]:
        """`data:` addresses, each picture once."""
        return list(self._places)

    def place(self, file: Path) -> int | None:
        """The index of a file's picture among the addresses; None where it is not in the page."""
        if file not in self._files:
            self._files[file] = self._placed(file)
        return self._files[file]

    def _placed(self, file: Path) -> int | None:
        try:
            address = "" if self.left_out else data_address(file)  # full: no more are read
        except AdammsError as error:
            self.unreadable[file] = str(error)
            return None
        if address not in self._places:
            if self.left_out or len(address) > self.room:
                self.left_out.add(file)
                return None
            self.room -= len(address)
        return self._places.setdefault(address, len(self._places))


def data_address(file: Path) -> str:
    """The picture as a `data:` address: as it is seen by the models, downscaled where it is large.

    Raises:
        AdammsError: no picture that Pillow can read.
    """
    image = open_image(file)
    image.thumbnail((SIDE, SIDE))
    kinds: list[tuple[str, dict[str, int]]] = [("png", {}), ("jpeg", {"quality": QUALITY})]
    for kind, more in kinds[1:] if is_photograph(file) else kinds:
        written = BytesIO()
        image.save(written, kind, **more)
        if written.tell() <= PLAIN:
            break
    return f"data:image/{kind};base64,{b64encode(written.getvalue()).decode('ascii')}"
