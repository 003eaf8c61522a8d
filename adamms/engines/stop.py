"""Texts before which an answer ends; the same for every engine."""

from collections.abc import Sequence

from adamms.errors import AdammsError


def checked_stop(stop: Sequence[str]) -> tuple[str, ...]:
    """`stop` as a tuple; AdammsError unless it holds texts, none of them empty."""
    if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
        raise AdammsError(f"engine.stop is {stop!r}; expected a list of texts, such as ['ASSISTANT:']")
    return tuple(stop)


def before(stop: Sequence[str], text: str) -> str:
    """`text` up to the first place at which one of `stop` begins."""
    return text[: min((place for end in stop if (place := text.find(end)) >= 0), default=len(text))]
