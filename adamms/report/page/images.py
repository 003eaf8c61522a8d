"""Pictures inside the page: each once, downscaled where large, as many as the page has room for.

Of a video it is the first frame.

Knows files and bytes.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO

from adamms.data.example import Medium
from adamms.engines.image import is_photograph
from adamms.engines.video import shown
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
        left_out: those for which there was no room.
        unreadable: medium -> why it could not be read.
    """

    room: int = ROOM
    left_out: set[Medium] = field(default_factory=set)
    unreadable: dict[Medium, str] = field(default_factory=dict)
    _known: dict[Medium, int | None] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)

    @property
    def addresses(self) -> list[str]:
        """`data:` addresses, each picture once."""
        return list(self._places)

    def place(self, medium: Medium) -> int | None:
        """The index of its picture among the addresses; None where it is not in the page."""
        if medium not in self._known:
            self._known[medium] = self._placed(medium)
        return self._known[medium]

    def _placed(self, medium: Medium) -> int | None:
        try:
            address = "" if self.left_out else data_address(medium)  # full: no more are read
        except AdammsError as error:
            self.unreadable[medium] = str(error)
            return None
        if address not in self._places:
            if self.left_out or len(address) > self.room:
                self.left_out.add(medium)
                return None
            self.room -= len(address)
        return self._places.setdefault(address, len(self._places))


def data_address(medium: Medium) -> str:
    """The picture as a `data:` address: as it is seen by the models, downscaled where it is large.

    Raises:
        AdammsError: no picture that Pillow can read, or no video that PyAV can.
    """
    image = shown(medium)
    image.thumbnail((SIDE, SIDE))
    kinds: list[tuple[str, dict[str, int]]] = [("png", {}), ("jpeg", {"quality": QUALITY})]
    for kind, more in kinds[1:] if is_photograph(medium) else kinds:
        written = BytesIO()
        image.save(written, kind, **more)
        if written.tell() <= PLAIN:
            break
    return f"data:image/{kind};base64,{b64encode(written.getvalue()).decode('ascii')}"
