"""Visual questions over the scenes of `digits`, answered by sentences: lists, explanations, digits in order.

Every skill has three wordings, all of them right, since models word the same thing differently. Owns the
questions and their answers. Knows nothing of models or tokenizers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from adamms.data.digits import COLOURS, NUMERALS, Item, Scene, Skill, Split, check_different, drawn
from adamms.data.digits import SKILLS as WORD_SKILLS
from adamms.data.example import Dataset

SentenceName = Literal[
    "list_all", "list_high", "list_even", "list_odd",
    "say_digit", "say_largest", "say_next", "say_double",
    "explain_largest", "explain_parity", "explain_next", "explain_double",
    "read_up", "read_colours", "read_down", "read_next",
]  # fmt: skip

NUMBERS = (
    *NUMERALS,
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
)  # fmt: skip
# Of the answers, beside numbers and colours.
WORDS = (
    "the", "a", "i", "see", "it", "is", "are", "they", "there", "that", "which", "in", "of", "and", "then",
    "first", ":", ",", ".", "picture", "shows", "digit", "digits", "here", "no", "none", "even", "odd",
    "high", "above", "largest", "after", "follows", "next", "twice", "makes", "if", "answer", "order",
    "has", "so",
)  # fmt: skip


def _listed(parts: Sequence[str]) -> str:
    """The parts as people list them: "five , two and nine"."""
    *first, last = parts
    return f"{' , '.join(first)} and {last}" if first else last


def _items(scene: Scene) -> list[Item]:
    """In the order of COLOURS."""
    return sorted(scene.items, key=lambda item: list(COLOURS).index(item.colour))


def _ascending(scene: Scene) -> list[int]:
    return sorted(item.digit for item in scene.items)


def _list(name: SentenceName, question: str, none: str, fits: Callable[[int], bool]) -> Skill:
    """A skill that names all digits that fit."""

    def answers(scene: Scene, _: str) -> tuple[str, ...]:
        seen = [f"{item.colour} {NUMERALS[item.digit]}" for item in _items(scene) if fits(item.digit)]
        if not seen:
            return (f"there is {none} in it", f"i see {none} here", f"the picture has {none}")
        return (
            f"there is {_listed([f'a {one}' for one in seen])}",
            f"i see {_listed([f'the {one}' for one in seen])}",
            f"the picture shows {_listed(seen)}",
        )

    return Skill(name, question, answers)


def _of_digit(name: SentenceName, question: str, *wordings: str) -> Skill:
    """A skill about one digit. Wordings may use {colour}, {digit}, {next}, {double}, {parity}."""

    def answers(scene: Scene, colour: str) -> tuple[str, ...]:
        digit = scene.digit(colour)
        values = {
            "colour": colour,
            "digit": NUMERALS[digit],
            "next": NUMBERS[digit + 1],
            "double": NUMBERS[2 * digit],
            "parity": ("even", "odd")[digit % 2],
        }
        return tuple(wording.format(**values) for wording in wordings)

    return Skill(name, question, answers)


def _of_scene(name: SentenceName, question: str, answers: Callable[[Scene], tuple[str, ...]]) -> Skill:
    return Skill(name, question, lambda scene, _: answers(scene))


def _say_largest(scene: Scene) -> tuple[str, ...]:
    largest = NUMERALS[_ascending(scene)[-1]]
    return (
        f"the largest digit in the picture is a {largest}",
        f"no digit is above {largest} here",
        f"i see no digit above the {largest}",
    )


def _explain_largest(scene: Scene) -> tuple[str, ...]:
    seen = _listed([NUMERALS[item.digit] for item in _items(scene)])
    largest = NUMERALS[_ascending(scene)[-1]]
    return (
        f"the digits are {seen} and none is above {largest} . answer : {largest}",
        f"i see {seen} , the largest is {largest} . answer : {largest}",
        f"of {seen} the largest is {largest} . answer : {largest}",
    )


def _read(digits: Sequence[int]) -> tuple[str, ...]:
    words = [NUMBERS[digit] for digit in digits]
    return (
        f"they are {' , then '.join(words)}",
        f"first {' and then '.join(words)}",
        f"in order : {' , '.join(words)}",
    )


def _read_colours(scene: Scene) -> tuple[str, ...]:
    seen = [(item.colour, NUMERALS[item.digit]) for item in _items(scene)]
    return (
        " , then ".join(f"{colour} is {digit}" for colour, digit in seen),
        f"first {' and then '.join(f'{digit} in {colour}' for colour, digit in seen)}",
        f"in order : {' , '.join(f'{colour} {digit}' for colour, digit in seen)}",
    )


TARGET_SKILLS: tuple[Skill, ...] = (
    _of_digit(
        "say_digit",
        "which digit is {colour}",
        "the {colour} digit is a {digit}",
        "i see a {colour} {digit} here",
        "the picture shows a {digit} in {colour}",
    ),
    _of_scene("say_largest", "which digit is largest", _say_largest),
    _list("list_all", "list all digits", "no digit", lambda digit: True),
    _list("list_high", "list the high digits", "no high digit", lambda digit: digit > 4),
    _of_scene("explain_largest", "explain the largest digit", _explain_largest),
    _of_digit(
        "explain_parity",
        "explain if {colour} is even",
        "the {colour} digit is {digit} and that is {parity} . answer : {parity}",
        "i see a {digit} in {colour} , it is {parity} . answer : {parity}",
        "{colour} shows {digit} , which is {parity} . answer : {parity}",
    ),
    _of_scene("read_up", "read the digits upwards", lambda scene: _read(_ascending(scene))),
    _of_scene("read_colours", "read the digits by colour", _read_colours),
)
DONOR_SKILLS: tuple[Skill, ...] = (
    _of_digit(
        "say_next",
        "which digit follows {colour}",
        "the digit after {colour} is a {next}",
        "i see that {next} follows {colour}",
        "after the {colour} digit follows {next}",
    ),
    _of_digit(
        "say_double",
        "what is twice {colour}",
        "twice the {colour} digit is {double}",
        "i see that {colour} twice makes {double}",
        "the {colour} digit makes {double} if it is there twice",
    ),
    _list("list_even", "list the even digits", "no even digit", lambda digit: digit % 2 == 0),
    _list("list_odd", "list the odd digits", "no odd digit", lambda digit: digit % 2 == 1),
    _of_digit(
        "explain_next",
        "explain what follows {colour}",
        "the {colour} digit is {digit} and the next digit is {next} . answer : {next}",
        "i see a {digit} in {colour} , then follows {next} . answer : {next}",
        "{colour} shows {digit} , so the next digit is {next} . answer : {next}",
    ),
    _of_digit(
        "explain_double",
        "explain what is twice {colour}",
        "the {colour} digit is {digit} and twice that is {double} . answer : {double}",
        "i see a {digit} in {colour} , twice it makes {double} . answer : {double}",
        "{colour} shows {digit} , so twice that is {double} . answer : {double}",
    ),
    _of_scene("read_down", "read the digits downwards", lambda scene: _read(_ascending(scene)[::-1])),
    _of_scene(
        "read_next",
        "read what follows the digits",
        lambda scene: _read([digit + 1 for digit in _ascending(scene)]),
    ),
)
SKILLS = TARGET_SKILLS + DONOR_SKILLS


@dataclass(frozen=True)
class Sentences:
    """Questions over rendered scenes, as `Digits`; every wording of an answer is accepted.

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
    tasks: tuple[SentenceName, ...]

    def __post_init__(self) -> None:
        check_different(self.tasks)

    def load(self) -> Dataset:
        """Render the missing images and return examples, task by task, with their answers."""
        numbered = enumerate(SKILLS, start=len(WORD_SKILLS))
        chosen = {number: skill for number, skill in numbered if skill.name in self.tasks}
        return drawn("sentences", chosen, Path(self.folder), self.per_task, self.seed, self.split)
