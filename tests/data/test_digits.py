"""`Digits`: the same arguments give the same bytes, images match questions, labels stay apart."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configured import configured
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adamms.data.digits import (
    CANVAS,
    CELL,
    COLOURS,
    SKILLS,
    Digits,
    Glyphs,
    Item,
    Scene,
    ask,
    draw_scene,
    render,
)
from adamms.data.example import Example
from adamms.errors import AdammsError

NAMES = tuple(skill.name for skill in SKILLS)


def digits(folder: Path, **values: Any) -> Digits:
    return configured("data/digits", folder=folder, **values)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    return draw_scene(np.random.default_rng(draw(st.integers(0, 2**32))))


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first = digits(tmp_path / "a", per_task=2, seed=3).load()
    second = digits(tmp_path / "b", per_task=2, seed=3).load()
    assert first.answers == second.answers
    for one, other in zip(first.examples, second.examples, strict=True):
        assert (one.id, one.task, one.question) == (other.id, other.task, other.question)
        assert one.image is not None
        assert other.image is not None
        assert one.image.read_bytes() == other.image.read_bytes()
    assert not list(tmp_path.glob("**/*.tmp"))


def test_more_per_task_and_fewer_tasks_keep_the_examples(tmp_path: Path) -> None:
    small = digits(tmp_path / "a", per_task=2, tasks=["parity"]).load()
    large = digits(tmp_path / "b", per_task=3).load()
    images = {e.id: e.image for e in large.examples}
    for example in small.examples:
        assert example.image is not None
        other = images[example.id]
        assert other is not None
        assert example.image.read_bytes() == other.read_bytes()
        assert small.answers[example.id] == large.answers[example.id]


def test_existing_files_are_not_rewritten(tmp_path: Path) -> None:
    source = digits(tmp_path, per_task=1)
    times = {e.image: e.image.stat().st_mtime_ns for e in source.load().examples if e.image}
    again = {e.image: e.image.stat().st_mtime_ns for e in source.load().examples if e.image}
    assert times == again


def test_seeds_and_splits_differ(tmp_path: Path) -> None:
    sets = [
        digits(tmp_path, per_task=1, tasks=["read"]).load(),
        digits(tmp_path, per_task=1, tasks=["read"], seed=1).load(),
        digits(tmp_path, per_task=1, tasks=["read"], split="train").load(),
    ]
    images = {d.examples[0].image.read_bytes() for d in sets if d.examples[0].image}
    assert len(images) == 3


def test_examples_carry_no_label(tmp_path: Path) -> None:
    dataset = digits(tmp_path, per_task=2).load()
    assert len(dataset.examples) == 2 * len(SKILLS)
    assert set(dataset.answers) == {e.id for e in dataset.examples}
    assert {field.name for field in dataclasses.fields(Example)} == {
        "id",
        "task",
        "question",
        "image",
        "where",
        "more_images",
        "video",
    }
    for example in dataset.examples:
        assert example.task in NAMES
        assert str(dataset.answers[example.id]) not in example.question.split()
        assert example.image is not None
        with Image.open(example.image) as image:
            assert image.size == (CANVAS, CANVAS)
            assert image.mode == "RGB"
            assert not image.info


@given(scenes(), st.sampled_from(SKILLS), st.integers(0, 2**32))
def test_answers_follow_from_the_scene(scene: Scene, skill: object, seed: int) -> None:
    assert skill in SKILLS
    question, (answer,) = ask(skill, scene, np.random.default_rng(seed))  # type: ignore[arg-type]
    colour = next((word for word in question.split() if word in COLOURS), None)
    digits = {item.colour: item.digit for item in scene.items}
    name = skill.name  # type: ignore[attr-defined]
    if name == "presence":
        assert answer == ("yes" if colour in digits else "no")
    elif name == "largest":
        assert answer == str(max(digits.values()))
    else:
        assert colour is not None
        digit = digits[colour]
        expected = {
            "read": str(digit),
            "spell": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"][digit],
            "successor": str((digit + 1) % 10),
            "double": str(2 * digit),
            "parity": "odd" if digit % 2 else "even",
            "remainder": str(digit % 3),
        }
        assert answer == expected[name]


@given(scenes())
def test_scenes_have_distinct_colours_in_distinct_ordered_cells(scene: Scene) -> None:
    assert len(scene.items) in (2, 3)
    assert len({item.colour for item in scene.items}) == len(scene.items)
    cells = [item.cell for item in scene.items]
    assert cells == sorted(set(cells))
    assert all(0 <= cell < 4 for cell in cells)


def test_a_digit_is_drawn_in_its_cell_and_colour() -> None:
    glyphs = Glyphs.load("test")
    scene = Scene((Item("red", 8, 1), Item("blue", 0, 2)))
    pixels = render(scene, glyphs, np.random.default_rng(0)).astype(int)
    top_right = pixels[:CELL, CELL:].reshape(-1, 3).mean(0)
    bottom_left = pixels[CELL:, :CELL].reshape(-1, 3).mean(0)
    empty = pixels[:CELL, :CELL].mean()
    assert top_right[0] > 2 * top_right[1]
    assert bottom_left[2] > 2 * bottom_left[0]
    assert empty < 10


def test_the_splits_share_no_handwritten_digit() -> None:
    train, test = Glyphs.load("train"), Glyphs.load("test")
    assert sum(map(len, train.by_digit)) == 1400
    assert sum(map(len, test.by_digit)) == 397


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    for arguments, message in (
        ({"tasks": ["raed"]}, r"tasks\[0\] is 'raed'; expected one of read, spell, .* Nearest: read"),
        ({"tasks": []}, r"data\.tasks is \[\]; expected different tasks, at least one"),
        ({"tasks": ["read", "read"]}, "expected different tasks"),
        ({"per_task": 0}, "per_task is 0; expected a number above 0"),
        ({"seed": -1}, "seed is -1"),
        ({"split": "valid"}, "split is 'valid'; expected one of train, test"),
    ):
        with pytest.raises(AdammsError, match=message):
            digits(tmp_path, **arguments)
