"""Pictures that packages carry, sixteen words for each, and questions that are answered in sentences.

Scenes of handwritten digits (scikit-learn's, drawn by `adamms.data.digits`), and crops of 19 pictures that
the wheels of scikit-image and scikit-learn contain. Test scenes show handwriting that is not in training.
Test crops are other crops of the same 19 pictures: nothing is tested on a picture that was never seen.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from adamms.data.digits import COLOURS, NUMERALS, Glyphs, Item, Scene, draw_scene, render

SIZE = 64  # pixels; square, RGB
WORDS = 16  # of a caption, and tokens of an image
STREAM = 71_000  # starts every seed here
PINK = {"magenta": "pink"}  # "magenta" is two tokens
CELLS = ("top left", "top right", "bottom left", "bottom right")
TARGET_TASKS = ("read", "place", "count")
DONOR_TASKS = ("photo", "light", "next")
TASKS = TARGET_TASKS + DONOR_TASKS
PACKAGES = {"skimage": "data", "sklearn": "datasets/images"}


@dataclass(frozen=True)
class Photo:
    """What one file shows: `word` stands for it in captions, `phrase` in sentences."""

    file: str
    word: str
    phrase: str
    topic: str
    upright: bool = False  # not flipped: it has letters

    def load(self) -> np.ndarray:
        """(height, width, 3) uint8, on white."""
        folders = [Path(str(find_spec(name).origin)).parent / data for name, data in PACKAGES.items()]
        file = next(folder / self.file for folder in folders if (folder / self.file).is_file())
        with Image.open(file) as image:
            white = Image.new("RGBA", image.size, "white")
            return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))


PHOTOS = (
    Photo("astronaut.png", "astronaut", "an astronaut", "people"),
    Photo("brick.png", "brick", "a brick wall", "surfaces"),
    Photo("camera.png", "photographer", "a photographer", "people"),
    Photo("chelsea.png", "cat", "a cat", "animals"),
    Photo("clock_motion.png", "clock", "a clock", "devices"),
    Photo("coffee.png", "coffee", "a cup of coffee", "food"),
    Photo("coins.png", "coins", "old coins", "money"),
    Photo("grass.png", "grass", "grass", "plants"),
    Photo("gravel.png", "gravel", "gravel", "surfaces"),
    Photo("horse.png", "horse", "a horse", "animals"),
    Photo("hubble_deep_field.jpg", "galaxies", "distant galaxies", "space"),
    Photo("ihc.png", "tissue", "tissue under a microscope", "medicine"),
    Photo("moon.png", "moon", "the moon", "space"),
    Photo("motorcycle_left.png", "motorcycle", "a motorcycle", "vehicles"),
    Photo("page.png", "page", "a printed page", "text", upright=True),
    Photo("retina.jpg", "retina", "the retina of an eye", "medicine"),
    Photo("rocket.jpg", "rocket", "a rocket", "vehicles"),
    Photo("china.jpg", "temple", "a temple", "buildings"),
    Photo("flower.jpg", "flower", "a flower", "plants"),
)


@dataclass(frozen=True)
class Picture:
    """An image and what is known of it.

    Args:
        pixels: (64, 64, 3) uint8.
        words: 16 words, four a row; an image token stands for each.
        scene: of digits, or None.
        photo: what the crop is of, or None.
    """

    pixels: np.ndarray
    words: tuple[str, ...]
    scene: Scene | None = None
    photo: Photo | None = None


@dataclass(frozen=True)
class Question:
    task: str
    picture: Picture
    text: str
    answer: str


class Pictures:
    """Draws pictures of one split; the same generator gives the same picture."""

    def __init__(self, split: str) -> None:
        self.glyphs = Glyphs.load("test" if split == "test" else "train")
        self.files = [photo.load() for photo in PHOTOS]

    def scene(self, rng: np.random.Generator) -> Picture:
        scene = draw_scene(rng)
        image = Image.fromarray(render(scene, self.glyphs, rng)).resize(
            (SIZE, SIZE), Image.Resampling.BILINEAR
        )
        by_cell = {item.cell: item for item in scene.items}
        words = [word for cell in range(4) for word in _row(cell, by_cell.get(cell))]
        return Picture(np.asarray(image), tuple(words), scene=scene)

    def crop(self, rng: np.random.Generator) -> Picture:
        """A crop of a third to nine tenths of the shorter side, flipped, lighter or darker, tinted."""
        chosen = int(rng.integers(len(PHOTOS)))
        photo, whole = PHOTOS[chosen], self.files[chosen]
        height, width = whole.shape[:2]
        side = int(min(height, width) * rng.uniform(0.35, 0.9))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        image = Image.fromarray(whole[top : top + side, left : left + side])
        pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX)).astype(np.float32)
        if rng.random() < 0.5 and not photo.upright:
            pixels = pixels[:, ::-1]
        pixels = pixels * rng.uniform(0.6, 1.3) * rng.uniform(0.9, 1.1, 3)
        shown = pixels.clip(0, 255).round().astype(np.uint8)
        words = f"a photo of {photo.word} its topic is {photo.topic} it is mostly {colour(shown)}"
        return Picture(shown, (*words.split(), "and", "it", "is", brightness(shown)), photo=photo)

    def ask(self, task: str, rng: np.random.Generator) -> Question:
        if task in ("photo", "light"):
            picture = self.crop(rng)
            return Question(task, picture, *_of_photo(task, picture))
        picture = self.scene(rng)
        item = picture.scene.items[int(rng.integers(len(picture.scene.items)))]
        return Question(task, picture, *_of_scene(task, picture.scene, item))


def _row(cell: int, item: Item | None) -> tuple[str, ...]:
    found = ("is", "empty") if item is None else (shown_colour(item), NUMERALS[item.digit])
    return (*CELLS[cell].split(), *found)


def shown_colour(item: Item) -> str:
    return PINK.get(item.colour, item.colour)


def _of_scene(task: str, scene: Scene, item: Item) -> tuple[str, str]:
    name, digit = shown_colour(item), NUMERALS[item.digit]
    match task:
        case "read":
            return f"Which digit is {name}?", f"The {name} digit is a {digit}."
        case "place":
            return f"Where is the {name} digit?", f"The {name} digit is at the {CELLS[item.cell]}."
        case "count":
            seen = [f"a {shown_colour(each)} {NUMERALS[each.digit]}" for each in scene.items]
            listed = ", ".join(seen[:-1]) + f" and {seen[-1]}"
            return "How many digits are there?", f"There are {NUMERALS[len(seen)]} digits, {listed}."
    following = (*NUMERALS, "ten")[item.digit + 1]
    return f"Which number comes after the {name} digit?", f"After {digit} comes {following}."


def _of_photo(task: str, picture: Picture) -> tuple[str, str]:
    photo = picture.photo
    if task == "photo":
        return "What does the picture show?", f"It shows {photo.phrase}, and its topic is {photo.topic}."
    main, light = colour(picture.pixels), brightness(picture.pixels)
    return "What are its colour and brightness?", f"The picture is mostly {main} and {light}."


def colour(pixels: np.ndarray) -> str:
    """A name for the mean colour of (height, width, 3) uint8."""
    from colorsys import rgb_to_hsv

    hue, saturation, value = rgb_to_hsv(*(pixels.reshape(-1, 3).mean(0) / 255))
    if value < 0.2:
        return "black"
    if saturation < 0.18:
        return "white" if value > 0.75 else "gray"
    if hue < 0.12 or hue > 0.9:
        return "brown" if hue > 0.03 and hue < 0.9 and value < 0.7 else "red"
    return "yellow" if hue < 0.2 else "green" if hue < 0.45 else "blue"


def brightness(pixels: np.ndarray) -> str:
    return "bright" if pixels.mean() > 105 else "dark"


def generator(split: str, *path: int) -> np.random.Generator:
    """Of one thing to draw. Different paths, or splits, give independent streams."""
    return np.random.default_rng((STREAM, ("train", "test").index(split), *path))


def vocabulary() -> tuple[str, ...]:
    """All words of captions."""
    photos = [word for photo in PHOTOS for word in (photo.word, photo.topic)]
    colours = ["black", "white", "gray", "brown", "red", "yellow", "green", "blue", *COLOURS, "pink"]
    fixed = ["a", "photo", "of", "its", "topic", "is", "it", "mostly", "and", "bright", "dark", "empty"]
    words = [*fixed, *" ".join(CELLS).split(), *photos, *colours, *NUMERALS]
    return tuple(word for word in dict.fromkeys(words) if word not in PINK)


def questions(pictures: Pictures, split: str, tasks: Sequence[str], each: int) -> Iterator[Question]:
    """`each` of every task; a larger number extends a smaller one."""
    for index in range(each):
        for task in tasks:
            yield pictures.ask(task, generator(split, TASKS.index(task), index))


def write_questions(folder: Path, each: int) -> None:
    """questions.jsonl and the pictures of the test split."""
    lines = []
    for index, one in enumerate(questions(Pictures("test"), "test", TASKS, each)):
        name = f"{one.task}-{index // len(TASKS):03d}"
        Image.fromarray(one.picture.pixels).save(folder / f"{name}.png")
        record = {"id": name, "image": f"{name}.png", "task": one.task}
        lines.append(json.dumps(record | {"question": one.text, "answer": one.answer}))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
