"""Endless training batches: text dialogues, image dialogues, labelled cells.

The caller seeds every stream. Knows scenes and the language. Of models it knows only the layout of pixels
that the first pair's processors give (`inputs_for_target`, `inputs_for_donor`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from adamms.data import digits
from adamms.demo import language
from adamms.demo.language import Language
from adamms.demo.models import DONOR_PATCH, TARGET_PATCH

TARGET_TOKENS = (digits.CANVAS // (2 * TARGET_PATCH)) ** 2
DONOR_SIDE = digits.CANVAS // DONOR_PATCH  # patches; base side^2, tile side^2, one newline per tile row
DONOR_TOKENS = 2 * DONOR_SIDE**2 + DONOR_SIDE
CAPTION_SHARE = 0.06  # of the ancestor's questions
# Which of three wordings fine-tuning teaches; the ancestor learns all of them.
WORDINGS = {"target": slice(0, 2), "donor": slice(1, 3)}


@dataclass(frozen=True)
class Batch:
    """Token ids and labels (B, L), padded on the right; pixels (B, 3, 32, 32) in [-1, 1], or None."""

    ids: Tensor
    labels: Tensor
    pixels: Tensor | None = None


@dataclass(frozen=True)
class CellBatch:
    """Pixels (B, 3, 32, 32); per cell (B, 4) the digit (10: empty) and the colour (last: empty)."""

    pixels: Tensor
    digits: Tensor
    colours: Tensor


def generator(seed: int, stage: str) -> np.random.Generator:
    """A stream for one stage of one seed. Evaluation draws from other streams."""
    return np.random.default_rng([7, seed, *stage.encode()])


def augment(glyphs: digits.Glyphs, rng: np.random.Generator, copies: int) -> digits.Glyphs:
    """The glyphs and `copies` variants of each: turned up to 15 degrees, scaled and sheared by 10 %."""

    def varied(shape: np.ndarray) -> np.ndarray:
        angle = np.deg2rad(rng.uniform(-15, 15))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = np.eye(2) + rng.uniform(-0.1, 0.1, (2, 2))
        matrix = turn @ stretch
        middle = np.full(2, (digits.GLYPH - 1) / 2)
        shift = middle - matrix @ middle
        coefficients = (*matrix[0], shift[0], *matrix[1], shift[1])
        image = Image.fromarray(shape).transform(
            (digits.GLYPH, digits.GLYPH), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
        )
        return np.asarray(image)

    return digits.Glyphs(
        tuple(
            np.stack([*shapes, *(varied(shape) for shape in shapes for _ in range(copies))])
            for shapes in glyphs.by_digit
        )
    )


def text_batches(
    rng: np.random.Generator,
    spoken: Language,
    size: int,
    turns: int,
    known_digits: int,
    rare_share: float,
) -> Iterator[Batch]:
    """Scenes in text with `turns` questions of all skills, as the ancestor learns them.

    Questions of the donor's skills are about digits below `known_digits`; a share of `rare_share` of them
    is about any digit.
    """
    ids = language.word_ids(spoken)
    while True:
        rows = []
        for _ in range(size):
            scene = digits.draw_scene(rng)
            asked = [_text_question(scene, spoken, known_digits, rare_share, rng) for _ in range(turns)]
            rows.append(language.dialogue(language.text_scene(scene, rng), asked, ids))
        yield _pad(rows)


def image_batches(
    rng: np.random.Generator,
    spoken: Language,
    glyphs: digits.Glyphs,
    image: Sequence[str],
    size: int,
    turns: int,
    skills: Sequence[digits.Skill],
    wordings: slice,
    caption: bool,
    noise: float = 0.0,
) -> Iterator[Batch]:
    """Rendered scenes with questions of `skills`; `image` are the words that stand for the image.

    A share of `noise` of the answers belongs to another scene.
    """
    ids = language.word_ids(spoken)
    while True:
        rows, canvases = [], []
        for _ in range(size):
            scene = digits.draw_scene(rng)
            asked = [_image_question(skills, scene, wordings, noise, rng) for _ in range(turns)]
            if caption:
                asked.insert(0, (language.CAPTION, language.caption(scene)))
            rows.append(language.dialogue(image, asked, ids))
            canvases.append(digits.render(scene, glyphs, rng))
        padded = _pad(rows)
        yield Batch(padded.ids, padded.labels, _pixels(canvases))


def cell_batches(rng: np.random.Generator, glyphs: digits.Glyphs, size: int) -> Iterator[CellBatch]:
    """Rendered scenes and what each cell shows."""
    ranks = list(digits.COLOURS)
    while True:
        scenes = [digits.draw_scene(rng) for _ in range(size)]
        shown = torch.full((size, 4), 10)
        colours = torch.full((size, 4), len(digits.COLOURS))
        for row, scene in enumerate(scenes):
            for item in scene.items:
                shown[row, item.cell] = item.digit
                colours[row, item.cell] = ranks.index(item.colour)
        yield CellBatch(_pixels([digits.render(s, glyphs, rng) for s in scenes]), shown, colours)


def inputs_for_target(ids: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """Arguments of Qwen2-VL's forward, with the positions: all rows share one image layout."""
    side = digits.CANVAS // TARGET_PATCH // 2  # tokens per row of the image
    start = 1 + torch.arange(side)  # the image follows the vision-start token
    rows, columns = (grid.flatten() for grid in torch.meshgrid(start, start, indexing="ij"))
    image = torch.stack([torch.ones_like(rows), rows, columns])  # time, height, width
    text = torch.arange(ids.shape[1] - 1 - TARGET_TOKENS) + 1 + side
    positions = torch.cat([torch.zeros(3, 1, dtype=torch.long), image, text.expand(3, -1)], dim=1)
    positions = positions[:, None].expand(3, len(ids), -1)
    return {"input_ids": ids, "position_ids": positions, **target_patches(pixels)}


def target_patches(pixels: Tensor) -> dict[str, Tensor]:
    """(B, 3, 32, 32) -> `pixel_values` (B * 16, 3 * 2 * 8 * 8) in merge order, `image_grid_thw` (B, 3)."""
    count, patch, side = len(pixels), TARGET_PATCH, digits.CANVAS // TARGET_PATCH
    tiles = pixels.reshape(count, 3, side // 2, 2, patch, side // 2, 2, patch)
    tiles = tiles.permute(0, 2, 5, 3, 6, 1, 4, 7)  # B, cell row, cell column, 2, 2, channel, y, x
    frames = tiles.unsqueeze(6).expand(*tiles.shape[:6], 2, patch, patch)  # a still image, twice
    grid = torch.tensor([[1, side, side]]).expand(count, -1)
    return {"pixel_values": frames.reshape(count * side * side, -1), "image_grid_thw": grid}


def inputs_for_donor(ids: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """Arguments of LLaVA-OneVision's forward: base image and one equal tile, (B, 2, 3, 32, 32)."""
    return {
        "input_ids": ids,
        "pixel_values": pixels.unsqueeze(1).expand(-1, 2, -1, -1, -1),
        "image_sizes": torch.tensor([[digits.CANVAS, digits.CANVAS]]).expand(len(pixels), -1),
    }


def _image_question(
    skills: Sequence[digits.Skill],
    scene: digits.Scene,
    wordings: slice,
    noise: float,
    rng: np.random.Generator,
) -> tuple[str, str]:
    skill = skills[int(rng.integers(len(skills)))]
    question, answers = digits.ask(skill, scene, rng)
    if noise and rng.random() < noise:
        answers = digits.ask(skill, digits.draw_scene(rng), rng)[1]
    return question, _worded(answers[wordings] or answers, rng)


def _worded(answers: Sequence[str], rng: np.random.Generator) -> str:
    """One of the wordings; nothing is drawn where there is but one."""
    return answers[int(rng.integers(len(answers)))] if len(answers) > 1 else answers[0]


def _text_question(
    scene: digits.Scene, spoken: Language, known_digits: int, rare_share: float, rng: np.random.Generator
) -> tuple[str, str]:
    if rng.random() < CAPTION_SHARE:
        return language.CAPTION, language.caption(scene)
    skill, about = spoken.skills[int(rng.integers(len(spoken.skills)))], scene
    if skill in spoken.donor_skills and rng.random() >= rare_share:
        known = tuple(item for item in scene.items if item.digit < known_digits)
        if not known or ("{colour}" not in skill.question and len(known) < len(scene.items)):
            skill = spoken.skills[0]
        else:
            about = digits.Scene(known)
    question, answers = digits.ask(skill, about, rng)
    return question, _worded(answers, rng)


def _pad(rows: Sequence[tuple[list[int], list[int]]]) -> Batch:
    ids, labels = ([torch.tensor(row) for row in part] for part in zip(*rows, strict=True))
    return Batch(
        pad_sequence(ids, batch_first=True, padding_value=language.word_ids()[language.PAD]),
        pad_sequence(labels, batch_first=True, padding_value=language.IGNORE),
    )


def _pixels(canvases: Sequence[np.ndarray]) -> Tensor:
    """(B, 32, 32, 3) uint8 -> (B, 3, 32, 32) in [-1, 1], as the processors normalise."""
    return torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2).float() / 127.5 - 1
