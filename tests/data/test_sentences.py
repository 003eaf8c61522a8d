"""`Sentences`: every wording says what the scene shows; questions are those of `Digits` in all else."""

from pathlib import Path

import numpy as np
import pytest
from configured import configured
from hypothesis import given
from hypothesis import strategies as st

from adamms.data.digits import COLOURS, Skill, ask, draw_scene
from adamms.data.sentences import NUMBERS, SKILLS
from adamms.errors import AdammsError


@given(st.sampled_from(SKILLS), st.integers(0, 2**32))
def test_every_wording_says_what_the_scene_shows(skill: Skill, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    question, answers = ask(skill, scene, rng)
    digits = {item.colour: item.digit for item in scene.items}
    listed = [digits[colour] for colour in COLOURS if colour in digits]
    one = next((digits[word] for word in question.split() if word in COLOURS), 0)
    largest = max(listed)
    expected = {
        "say_digit": [one],
        "say_largest": [largest],
        "list_all": listed,
        "list_high": [digit for digit in listed if digit >= 5],
        "explain_parity": [one],
        "read_up": sorted(listed),
        "read_colours": listed,
        "say_next": [one + 1],
        "say_double": [2 * one],
        "list_even": [digit for digit in listed if digit in (0, 2, 4, 6, 8)],
        "list_odd": [digit for digit in listed if digit in (1, 3, 5, 7, 9)],
        "explain_next": [one, one + 1, one + 1],
        "explain_double": [one, 2 * one, 2 * one],
        "read_down": sorted(listed, reverse=True),
        "read_next": [digit + 1 for digit in sorted(listed)],
    }
    for answer in answers:
        said = [NUMBERS.index(word) for word in answer.split() if word in NUMBERS]
        if skill.name == "explain_largest":
            assert said == [*listed, largest, largest]
        else:
            assert said == expected[skill.name]
        if skill.name == "explain_parity":
            assert answer.endswith(f"answer : {'odd' if one % 2 else 'even'}")


def test_all_wordings_are_accepted(tmp_path: Path) -> None:
    dataset = configured("data/sentences", folder=tmp_path, per_task=1).load()
    assert [example.task for example in dataset.examples] == [skill.name for skill in SKILLS]
    assert dataset.name == "sentences-test"
    for example in dataset.examples:
        assert len(dataset.answers[example.id].accepted) == 3
        assert example.image is not None
        assert example.image.is_file()


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"tasks\[0\] is 'list'; expected one of .*list_all"):
        configured("data/sentences", folder=tmp_path, tasks=["list"])
