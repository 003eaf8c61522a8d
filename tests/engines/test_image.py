"""One way to open an image: what a person sees, from a file or from its content."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adamms.engines.image import open_image, shown_otherwise_before
from adamms.errors import AdammsError

BLACK, GREY, WHITE = (0, 0, 0), (128, 128, 128), (255, 255, 255)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def row(values: list[Any], dtype: str) -> Image.Image:
    return Image.fromarray(np.array([values], dtype))


def raw_png(depth: int, colour: int, data: bytes, transparent: bytes) -> bytes:
    """Two pixels beside each other, in a layout that Pillow reads and does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0)
    parts = {b"IHDR": header, b"tRNS": transparent, b"IDAT": zlib.compress(b"\0" + data), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


def seen(content: bytes) -> list[tuple[int, int, int]]:
    """The pixels, row by row."""
    image = open_image(BytesIO(content))
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


def rgba(*pixels: tuple[int, int, int, int]) -> Image.Image:
    return row(list(pixels), "uint8")


def palette() -> Image.Image:
    """Black, red, blue beside each other."""
    image = row([0, 1, 2], "uint8").convert("P")
    image.putpalette([*BLACK, *RED, *BLUE])
    return image


def turned(orientation: int, kind: str) -> bytes:
    """Black, grey, white from left to right, stored so that this orientation makes it upright."""
    undo = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE}
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = row([BLACK, GREY, WHITE], "uint8").resize((48, 16), Image.Resampling.NEAREST)
    return encoded(upright.transpose(undo[orientation]), kind, exif=exif, quality=100)


def test_a_file_and_its_content_are_opened_alike_in_rgb(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    Image.new("L", (3, 2), 7).save(file)
    for source in (file, BytesIO(file.read_bytes())):
        image = open_image(source)
        assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), (7, 7, 7))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [3, 5, 6])
def test_a_rotated_photo_is_upright(kind: str, orientation: int) -> None:
    content = turned(orientation, kind)
    image = open_image(BytesIO(content))
    assert image.size == (48, 16)
    assert np.allclose([image.getpixel((x, 8)) for x in (8, 24, 40)], [BLACK, GREY, WHITE], atol=6)
    assert shown_otherwise_before(content) == (kind != "tiff")  # which Pillow turns by itself


def test_damaged_exif_turns_nothing() -> None:
    content = encoded(Image.new("RGB", (2, 1)), "jpeg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert seen(content) == [BLACK, BLACK]
    assert not shown_otherwise_before(content)


TRANSPARENT = {
    "RGBA": (encoded(rgba((0, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 127))), [WHITE, RED, GREY]),
    "RGBA in WebP": (encoded(rgba((0, 0, 0, 0), (255, 0, 0, 255)), "webp", lossless=True), [WHITE, RED]),
    "RGBA in TIFF": (encoded(rgba((0, 0, 0, 0), (255, 0, 0, 255)), "tiff"), [WHITE, RED]),
    "LA": (encoded(rgba((0, 0, 0, 0), (0, 0, 0, 127)).convert("LA")), [WHITE, GREY]),
    "palette, one index": (encoded(palette(), transparency=0), [WHITE, RED, BLUE]),
    "palette, alphas": (encoded(palette(), transparency=bytes([127, 255, 0])), [GREY, RED, WHITE]),
    "GIF": (encoded(palette(), "gif", transparency=0), [WHITE, RED, BLUE]),
    "key in grey": (encoded(row([7, 8], "uint8"), transparency=7), [WHITE, (8, 8, 8)]),
    "key in RGB": (encoded(row([RED, BLUE], "uint8"), transparency=RED), [WHITE, BLUE]),
    "key in black and white": (encoded(row([True, False], "bool"), transparency=0), [WHITE, WHITE]),
    "key in 2 bits": (raw_png(2, 0, b"\x60", b"\0\1"), [WHITE, (170, 170, 170)]),
    "key in 4 bits": (raw_png(4, 0, b"\x3e", b"\0\3"), [WHITE, (238, 238, 238)]),
    "key in 48 bits": (
        raw_png(16, 2, struct.pack(">6H", 512, 0, 0, 0, 512, 0), struct.pack(">3H", 512, 0, 0)),
        [WHITE, (0, 2, 0)],
    ),
}


@pytest.mark.parametrize("case", TRANSPARENT)
def test_what_is_transparent_is_white(case: str) -> None:
    content, expected = TRANSPARENT[case]
    assert seen(content) == expected
    assert shown_otherwise_before(content)


def test_the_key_colour_of_16_bits_is_white() -> None:
    content = encoded(row([257, 514], "uint16"), transparency=257)
    assert seen(content) == [WHITE, (2, 2, 2)]


DEEP = {
    "PNG, 16 bits": encoded(row([0, 32896, 65535], "uint16")),
    "TIFF, 16 bits": encoded(row([0, 32896, 65535], "uint16"), "tiff"),
    "TIFF, 16 bits, white is zero": encoded(row([65535, 32639, 0], "uint16"), "tiff", tiffinfo={262: 0}),
    "PGM, 16 bits": encoded(row([0, 32896, 65535], "int32"), "ppm"),
    "TIFF, integers up to 255": encoded(row([0, 128, 255], "int32"), "tiff"),
    "TIFF, integers, signed": encoded(row([-1000, 1008, 3000], "int32"), "tiff"),
    "TIFF, floats up to 1": encoded(row([0, 0.502, 1], "float32"), "tiff"),
    "TIFF, floats up to 255": encoded(row([0, 128, 255], "float32"), "tiff"),
    "TIFF, floats up to 65535": encoded(row([0, 32896, 65535], "float32"), "tiff"),
    "TIFF, floats a little above 1": encoded(row([0, 0.504, 1.004], "float32"), "tiff"),
    "TIFF, floats around 0": encoded(row([-1, 0.004, 1], "float32"), "tiff"),
    "TIFF, floats with NaN and infinity": encoded(row([np.nan, 0.502, np.inf], "float32"), "tiff"),
}


@pytest.mark.parametrize("case", DEEP)
def test_more_than_8_bits_are_scaled_by_the_range_of_the_format(case: str) -> None:
    assert seen(DEEP[case]) == [BLACK, GREY, WHITE]
    assert shown_otherwise_before(DEEP[case]) == ("up to 255" not in case)


def test_a_dark_image_of_16_bits_stays_dark() -> None:
    assert seen(encoded(row([0, 257, 2570], "uint16"))) == [BLACK, (1, 1, 1), (10, 10, 10)]


def test_a_tiff_of_12_bits_is_white_at_4095() -> None:
    content = encoded(row([0x8F80, 0xFF], "uint16"), "tiff")  # the bytes 80 8f ff, which are 2056 and 4095
    bits = struct.pack("<HHI", 258, 3, 1)  # before the value
    assert content.count(bits + b"\x10") == 1
    assert seen(content.replace(bits + b"\x10", bits + b"\x0c")) == [GREY, WHITE]


SAME = {
    "grey": encoded(row([0, 128], "uint8")),
    "opaque RGBA": encoded(rgba((1, 2, 3, 255), (4, 5, 6, 255))),
    "palette": encoded(palette()),
    "CMYK": encoded(Image.new("CMYK", (2, 1), (0, 255, 0, 0)), "jpeg"),
    "black and white": encoded(row([True, False], "bool")),
}


@pytest.mark.parametrize("case", SAME)
def test_other_images_are_what_pillow_makes_of_them(case: str) -> None:
    plain = Image.open(BytesIO(SAME[case])).convert("RGB")
    assert seen(SAME[case]) == [tuple(pixel) for pixel in np.asarray(plain).reshape(-1, 3).tolist()]
    assert not shown_otherwise_before(SAME[case])


def test_of_an_animation_the_first_frame_is_seen() -> None:
    frames = [Image.new("RGB", (1, 1), colour) for colour in (RED, BLUE)]
    for kind in ("gif", "png", "tiff"):
        assert seen(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == [RED]


def test_what_is_no_image_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded(Image.effect_noise((64, 64), 80))
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "cut.png").write_bytes(whole[:-300])
    (tmp_path / "bomb.png").write_bytes(encoded(Image.new("1", (100, 100))))
    (tmp_path / "header.png").write_bytes(whole[:20])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # refused from twice as many on
    cases = {
        "text.png": "cannot identify",
        "cut.png": "truncated",
        "bomb.png": "exceeds",
        "header.png": "",
        ".": "",
    }
    for name, cause in cases.items():
        with pytest.raises(AdammsError, match=rf"^image .*{name} does not decode \(.*{cause}.*\)$"):
            open_image(tmp_path / name)
    with pytest.raises(AdammsError, match=r"^image .*none\.png: no such file$"):
        open_image(tmp_path / "none.png")
    with pytest.raises(AdammsError) as caught:
        open_image(tmp_path / ("x" * 5000))
    assert len(str(caught.value)) < 1000


def test_eps_is_not_run_by_ghostscript(tmp_path: Path) -> None:
    file = tmp_path / "named_otherwise.png"
    file.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(AdammsError, match="EPS is a program"):
        open_image(file)
