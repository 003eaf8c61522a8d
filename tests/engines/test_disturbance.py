"""The disturbed example is another image of the same thing, always the same one."""

from pathlib import Path

import numpy as np
from PIL import Image

from adamms.data.example import Example
from adamms.engines.disturbance import disturbed


def test_the_image_changes_a_little_and_always_alike(tmp_path: Path) -> None:
    values = np.tile(np.linspace(60, 200, 32), (32, 1)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "x.png")
    example = Example("1", "t", "q", tmp_path / "x.png")
    one, again = disturbed(example, tmp_path / "a"), disturbed(example, tmp_path / "b")
    other = disturbed(example, tmp_path / "a", seed=1)
    assert (one.id, one.task, one.question) == ("1", "t", "q")
    images = [np.asarray(Image.open(e.image)).astype(int) for e in (one, again, other)]
    assert (images[0] == images[1]).all()
    assert (images[0] != images[2]).any()
    before = np.stack([values] * 3, axis=-1).astype(int)
    assert images[0].shape == before.shape
    assert (images[0] != before).mean() > 0.5
    # Inside the border that the shift wraps around, brightness and noise make no more than this.
    assert np.abs(images[0] - before)[2:-2, 2:-2].mean() < 0.15 * 200 + 6


def test_images_of_the_same_name_in_two_folders_are_kept_apart(tmp_path: Path) -> None:
    changed = []
    for colour in (60, 200):
        file = tmp_path / str(colour) / "1.png"
        file.parent.mkdir()
        Image.new("L", (32, 32), colour).save(file)
        changed.append(disturbed(Example(str(colour), "t", "q", file), tmp_path / "out"))
    assert [Image.open(e.image).getpixel((9, 9))[0] > 128 for e in changed] == [False, True]


def test_without_an_image_nothing_changes(tmp_path: Path) -> None:
    example = Example("1", "t", "q")
    assert disturbed(example, tmp_path) is example


def test_a_link_in_the_images_place_is_not_written_through(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(file)
    example = Example("1", "t", "q", file)
    made = disturbed(example, tmp_path / "c").image
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    made.unlink()
    made.symlink_to(precious)
    assert disturbed(example, tmp_path / "c").image == made
    assert precious.read_bytes() == b"mine"
    with Image.open(made) as image:
        assert image.size == (8, 8)
