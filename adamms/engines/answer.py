"""One answer: its text and, where the engine was asked for them, the log-probabilities behind it.

Decides when two answers are the same. Knows nothing of models or examples.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamms.engines.thought import split_thought, without_thought

# Digits after the point that log-probabilities are kept with. Further ones are rounding noise.
DIGITS = 5
# How far `between` bends logits up. Of a model's own answers least squares gave 1.35 on development seeds of
# the suite (`tests/benchmarks/signals.py`); of texts that it was given the errors cancel each other at 0.5.
BENT = 1.3
BENT_SCORES = 0.5
ROUNDING = 1e-9  # of shares of the way
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


def between(one: Answer, other: Answer, share: float, bent: float = BENT, switch: float = 0.5) -> Answer:
    """An estimate of the answer `share` of the way from one to the other.

    The logits of the tokens' probabilities are interpolated: over a short way they are nearly linear in the
    weights. `bent` bends them upwards, because answers inside a stretch that says the same are surer than at
    its ends. The likeliest other tokens stay unknown. If the texts differ or the tokens do not match one to
    one, the estimate is the first up to `switch` of the way, then the other.
    """
    if len(one.tokens) != len(other.tokens) or normalised(one.text) != normalised(other.text):
        return one if share < switch + ROUNDING else other
    pairs = zip(one.tokens, other.tokens, strict=True)
    tokens = tuple(Token(_between(a.logprob, b.logprob, share, bent), ()) for a, b in pairs)
    return Answer(one.text, tokens, one.cut if one.cut == other.cut else None)


def _between(one: float, other: float, share: float, bent: float) -> float:
    """The log-probability whose logit is interpolated and bent upwards."""
    known = np.array([one, other])
    logits = known - np.log(np.maximum(-np.expm1(known), 10.0**-DIGITS))  # nothing is surer than can be kept
    return -float(np.logaddexp(0.0, -logits @ [1 - share, share] - bent * share * (1 - share)))


def texts(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Example id -> text."""
    return {example: answer.text for example, answer in answers.items()}
