"""One answer: its text and, where the engine was asked for them, the log-probabilities behind it.

Decides when two answers are the same. Knows nothing of models or examples.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from adamms.engines.thought import split_thought, without_thought

# Digits after the point that log-probabilities are kept with. Further ones are rounding noise.
DIGITS = 5
# Typographic quotes and dashes with what keyboards have in their place; variation selectors are invisible.
TYPOGRAPHY: dict[int, str | None] = {
    **dict.fromkeys([0xB4, *range(0x2018, 0x201C), 0x2032], "'"),
    **dict.fromkeys([*range(0x201C, 0x2020), 0x2033], '"'),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-"),
    **dict.fromkeys(range(0xFE00, 0xFE10)),
}
# Kinds of characters that mean something else without their form: 10² is not 102.
MEANINGFUL = ("<super>", "<sub>", "<fraction>")


@dataclass(frozen=True)
class Token:
    """One generated token and what else might have come in its place.

    Args:
        logprob: of the token, natural logarithm.
        likeliest: (token id, log-probability) of the likeliest tokens at its place, in falling order.
    """

    logprob: float
    likeliest: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, chosen: int, likeliest: Mapping[int, float], logprob: float, count: int) -> "Token":
        """A token with the `count` likeliest ones; among equals the lower id comes first.

        Args:
            chosen: id of the generated token.
            likeliest: token id -> log-probability; with or without `chosen`.
            logprob: of `chosen`.
        """
        rounded = {name: round(value, DIGITS) for name, value in likeliest.items()}
        rounded[chosen] = round(logprob, DIGITS)
        order = sorted(rounded.items(), key=lambda item: (-item[1], item[0]))
        return cls(rounded[chosen], tuple(order[:count]))


@dataclass(frozen=True)
class Answer:
    """What a model said.

    >>> answer = Answer("Yes", (Token(-0.25, ((9454, -0.25), (2753, -1.5))),))
    >>> answer.to_json()
    {'answer': 'Yes', 'tokens': [[-0.25, [[9454, -0.25], [2753, -1.5]]]]}
    >>> Answer.from_json(answer.to_json()) == answer
    True

    Args:
        text: decoded, without special tokens and without white space around it; with the thought that it
            begins with, which is no part of what is compared.
        tokens: of the text and of its end; () where no log-probabilities were asked for.
        cut: whether it was cut at `max_new_tokens` before its end; None where nobody knows, as in logs.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    cut: bool | None = None

    @cached_property
    def said(self) -> str:
        """The text without the thought that it begins with."""
        return without_thought(self.text)

    @cached_property
    def logprob(self) -> float:
        """Of the whole answer (nats): the sum over its tokens."""
        return sum(token.logprob for token in self.tokens)

    @property
    def ends_in_thought(self) -> bool:
        """Whether nothing is said but a thought that does not end."""
        return split_thought(self.text)[1] is None

    def to_json(self) -> dict[str, Any]:
        """{"answer": text}; where known also "tokens": [[logprob, [[id, logprob], ...]], ...] and "cut"."""
        tokens = [[token.logprob, [list(pair) for pair in token.likeliest]] for token in self.tokens]
        known = {"tokens": tokens} if tokens else {}
        return {"answer": self.text} | known | ({} if self.cut is None else {"cut": self.cut})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Answer":
        """The answer of `to_json`; other keys are ignored.

        Raises:
            KeyError, TypeError, ValueError: the data are not of `to_json`.
        """
        tokens = tuple(
            Token(float(logprob), tuple((int(name), float(value)) for name, value in likeliest))
            for logprob, likeliest in data.get("tokens", ())
        )
        if not isinstance(data["answer"], str):
            raise TypeError("the answer is not a text")
        return cls(data["answer"], tokens, None if data.get("cut") is None else bool(data["cut"]))


def plain(text: str) -> str:
    """The text as a keyboard has it: no full-width letters, typographic quotes or invisible characters.

    Unicode's NFKC, but for superscripts, subscripts and fractions, whose form has a meaning.

    >>> plain("\uff21\u200b\u2019s") == "A's"
    True
    """
    if text.isascii():
        return text
    visible = (each for each in text.translate(TYPOGRAPHY) if unicodedata.category(each) != "Cf")
    kept = (
        each
        if unicodedata.decomposition(each).startswith(MEANINGFUL)
        else unicodedata.normalize("NFKC", each)
        for each in visible
    )
    return unicodedata.normalize("NFC", "".join(kept))


def normalised(text: str) -> str:
    """What decides whether two answers are the same: the plain text without case and with single spaces.

    A thought that it begins with does not count.

    >>> normalised(" Yes,  it IS ") == normalised("<think>Is it?</think> yes, it is")
    True
    """
    return " ".join(plain(without_thought(text)).casefold().split())


def first(logged: Any) -> Any:
    """The first answer that a tool logged: "a" of "a", of ["a"] and of [["a", "b"]]; "" of empty lists.

    >>> first([["a", "b"], ["c"]]), first([])
    ('a', '')
    """
    while isinstance(logged, list):
        logged = logged[0] if logged else ""
    return logged


def texts(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Example id -> text."""
    return {example: answer.text for example, answer in answers.items()}
