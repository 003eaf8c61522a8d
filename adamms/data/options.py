"""The options of a multiple-choice question: their letters, and how a prompt shows them. Knows no labels."""

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adamms.errors import AdammsError

LETTERS = string.ascii_uppercase
# "A. red", "(A) red", "a) red", "A: red", or "A" alone; "a" and "A.M." carry no letter.
LETTERED = re.compile(r"\s*\(?([A-Za-z])(?:[):、]|\.(?=\s|\w\w))\s*(.*\S)\s*|\s*([A-Z])\s*", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """What there is to choose from.

    >>> Options.of(["red", "(B) blue"]).lines
    ('A. red', '(B) blue')
    >>> Options.of(["red", "(B) blue"]).texts
    {'A': 'red', 'B': 'blue'}

    Args:
        lines: as a prompt shows them, each with its letter.
        texts: letter -> the option's text, in the same order.
    """

    lines: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Sequence[str]) -> "Options":
        """The options with letters: their own, if they carry A, B, ... in any order, else by their places.

        Raises:
            AdammsError: more options than letters, an empty one, or one that is there twice.
        """
        if len(options) > len(LETTERS):
            raise AdammsError(f"'options' has {len(options)} texts; expected at most {len(LETTERS)}")
        for place, option in enumerate(options):
            if not option.strip():
                raise AdammsError(f"'options' has an empty text at place {place + 1}; leave it out")
        carried = [split_letter(option) for option in options]
        own = [letter for letter, _ in carried]
        letters = own if sorted(own) == list(LETTERS[: len(own)]) else LETTERS
        lines, texts = [], {}
        for letter, option, (mark, rest) in zip(letters, options, carried, strict=False):
            lines.append(option if mark == letter else f"{letter}. {option}")
            texts[letter] = rest if mark == letter else option.strip()
        if twice := [text for text in texts.values() if list(texts.values()).count(text) > 1]:
            raise AdammsError(f"'options' has {twice[0]!r} twice; expected different texts")
        return cls(tuple(lines), texts)


def split_letter(option: str) -> tuple[str, str]:
    """The letter that an option carries, or "", and its text without it."""
    found = LETTERED.fullmatch(unicodedata.normalize("NFKC", option))
    if found is None:
        return "", option.strip()
    return (found[1] or found[3]).upper(), found[2] or option.strip()
