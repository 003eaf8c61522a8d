"""One way to open an image, from a file or from its content."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from adamms.engines.image import open_image


def test_a_file_and_its_content_are_opened_alike_in_rgb(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    Image.new("L", (3, 2), 7).save(file)
    for source in (file, BytesIO(file.read_bytes())):
        image = open_image(source)
        assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), (7, 7, 7))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(OSError, match="cannot identify image"):
        open_image(tmp_path / "text.png")
