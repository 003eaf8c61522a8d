"""Visual questions over scikit-learn's real handwritten digits: scenes, skills, images, dataset.

A scene puts two or three digits, each in its own colour, into the four cells of a small canvas. Owns the
questions and their one-word answers (`sentences` has longer ones). Knows nothing of models or tokenizers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import NonNegativeInt, PositiveInt

from adamms.data.example import Dataset, Example, Label
from adamms.errors import AdammsError
from adamms.system.whole_file import write_whole

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (1.0, 0.15, 0.15),
    "green": (0.1, 0.9, 0.1),
    "blue": (0.25, 0.35, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "magenta": (1.0, 0.2, 1.0),
    "cyan": (0.1, 0.9, 1.0),
}
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CANVAS = 32  # pixels; square, RGB
CELL = 16  # pixels; the canvas has 2 x 2 cells, numbered row by row
GLYPH = 14  # pixels; leaves 0-2 pixels of jitter inside a cell
TRAINING_GLYPHS = 1400  # of 1797; the other 397 handwritten digits appear in test images only
VERSION = 1  # of scenes and images; in the file names. Raise it with any change
STREAM = 20250  # starts every seed here; the training of the demo's models draws from other streams

Split = Literal["train", "test"]
SkillName = Literal["read", "spell", "presence", "largest", "successor", "double", "parity", "remainder"]


@dataclass(frozen=True)
class Item:
    """One handwritten digit of a scene."""

    colour: str
    digit: int
    cell: int


@dataclass(frozen=True)
class Scene:
    """Items of distinct colours in distinct cells, ordered by cell."""

    items: tuple[Item, ...]

    def digit(self, colour: str) -> int:
        """The digit of `colour`, which the scene must have."""
        return next(item.digit for item in self.items if item.colour == colour)


@dataclass(frozen=True)
class Skill:
    """A kind of question.

    Args:
        question: may contain `{colour}`.
        answers: (scene, colour) -> the right answers: as many wordings for every scene, equally good.
    """

    name: str
    question: str
    answers: Callable[[Scene, str], tuple[str, ...]]


def _presence(scene: Scene, colour: str) -> tuple[str]:
    return ("yes" if any(item.colour == colour for item in scene.items) else "no",)


TARGET_SKILLS: tuple[Skill, ...] = (
    Skill("read", "read {colour}", lambda s, c: (str(s.digit(c)),)),
    Skill("spell", "spell {colour}", lambda s, c: (NUMERALS[s.digit(c)],)),
    Skill("presence", "find {colour}", _presence),
    Skill("largest", "largest digit", lambda s, _: (str(max(i.digit for i in s.items)),)),
)
DONOR_SKILLS: tuple[Skill, ...] = (
    Skill("successor", "after {colour}", lambda s, c: (str((s.digit(c) + 1) % 10),)),
    Skill("double", "double {colour}", lambda s, c: (str(2 * s.digit(c)),)),
    Skill("parity", "parity {colour}", lambda s, c: (("even", "odd")[s.digit(c) % 2],)),
    Skill("remainder", "remainder {colour}", lambda s, c: (str(s.digit(c) % 3),)),
)
SKILLS = TARGET_SKILLS + DONOR_SKILLS


def draw_scene(rng: np.random.Generator) -> Scene:
    """Two or three digits; digits may repeat, colours and cells do not."""
    count = int(rng.integers(2, 4))
    colours = rng.permutation(list(COLOURS))[:count]
    cells = np.sort(rng.permutation(4)[:count])
    digits = rng.integers(0, 10, count)
    return Scene(tuple(Item(str(c), int(d), int(k)) for c, d, k in zip(colours, digits, cells, strict=True)))


def ask(skill: Skill, scene: Scene, rng: np.random.Generator) -> tuple[str, tuple[str, ...]]:
    """A question of `skill` and its right answers; half of `presence` asks for a colour that is not there."""
    present = [item.colour for item in scene.items]
    if skill.name == "presence" and rng.random() < 0.5:
        choices = [colour for colour in COLOURS if colour not in present]
    else:
        choices = present
    colour = choices[int(rng.integers(len(choices)))]
    return skill.question.format(colour=colour), skill.answers(scene, colour)


@dataclass(frozen=True)
class Glyphs:
    """Handwritten digits by class: `by_digit[d]` is (count, 14, 14) in [0, 1]."""

    by_digit: tuple[np.ndarray, ...]

    @classmethod
    def load(cls, split: Split) -> "Glyphs":
        """The 8x8 digits of scikit-learn, enlarged bilinearly. A fixed shuffle makes the splits."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        chosen = order[:TRAINING_GLYPHS] if split == "train" else order[TRAINING_GLYPHS:]
        images = [Image.fromarray((image / 16).astype(np.float32)) for image in digits.images[chosen]]
        size, bilinear = (GLYPH, GLYPH), Image.Resampling.BILINEAR
        enlarged = np.stack([np.asarray(image.resize(size, bilinear)) for image in images])
        return cls(tuple(enlarged[digits.target[chosen] == digit] for digit in range(10)))


def render(scene: Scene, glyphs: Glyphs, rng: np.random.Generator) -> np.ndarray:
    """The scene as (32, 32, 3) uint8: random glyph, jitter and brightness per item, pixel noise."""
    canvas = rng.normal(0.0, 0.03, (CANVAS, CANVAS, 3)).astype(np.float32)
    for item in scene.items:
        shapes = glyphs.by_digit[item.digit]
        shape = shapes[int(rng.integers(len(shapes)))] * rng.uniform(0.8, 1.0)
        top, left = rng.integers(0, CELL - GLYPH + 1, 2) + CELL * np.array(divmod(item.cell, 2))
        ink = np.asarray(COLOURS[item.colour], dtype=np.float32)
        canvas[top : top + GLYPH, left : left + GLYPH] += shape[..., None] * ink
    return (canvas.clip(0.0, 1.0) * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Digits:
    """Questions over rendered scenes. The same arguments give the same images and questions.

    Example k of a task depends on (split, seed, task, k) alone, so a larger `per_task` extends a
    smaller one. Model training draws from other random streams, and from the training digits unlike the
    test split.

    Args:
        folder: where the PNG files are kept; made if missing. Files that exist are not rewritten.
        per_task: questions per skill, each over an image of its own.
        seed: of scenes, images and questions.
        split: which handwritten digits the images show.
        tasks: names of skills.
    """

    folder: Path
    per_task: PositiveInt
    seed: NonNegativeInt
    split: Split
    tasks: tuple[SkillName, ...]

    def __post_init__(self) -> None:
        check_different(self.tasks)

    def load(self) -> Dataset:
        """Render the missing images and return examples, task by task, with their answers."""
        chosen = {place: skill for place, skill in enumerate(SKILLS) if skill.name in self.tasks}
        return drawn("digits", chosen, Path(self.folder), self.per_task, self.seed, self.split)


def check_different(tasks: Sequence[str]) -> None:
    """Raise AdammsError unless these are different tasks, at least one."""
    if not tasks or len(set(tasks)) != len(tasks):
        raise AdammsError(f"data.tasks is {list(tasks)}; expected different tasks, at least one")


def drawn(
    name: str, skills: Mapping[int, Skill], folder: Path, per_task: int, seed: int, split: Split
) -> Dataset:
    """Questions, each over an image of its own, with their answers; missing images are rendered.

    Args:
        skills: by their numbers, which with `seed` and `split` name the random streams.
    """
    glyphs = Glyphs.load(split)
    folder.mkdir(parents=True, exist_ok=True)
    examples: list[Example] = []
    labels: dict[str, Label] = {}
    for number, skill in skills.items():
        for index in range(per_task):
            rng = np.random.default_rng((STREAM, split == "test", seed, number, index))
            scene = draw_scene(rng)
            question, answers = ask(skill, scene, rng)
            own = f"{split}-{seed}-{skill.name}-{index:04d}"
            path = folder / f"{own}-v{VERSION}.png"
            if not path.exists():
                _write_png(path, render(scene, glyphs, rng))
            examples.append(Example(own, skill.name, question, path))
            labels[own] = Label(answers)
    return Dataset(f"{name}-{split}", tuple(examples), labels)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    written = BytesIO()
    Image.fromarray(pixels).save(written, format="PNG", compress_level=6)
    write_whole(path, written.getvalue())
