"""A conversation, as LLaVA or OpenAI writes it, as the plain fields of a question.

The first thing that the user says is the question, and what follows it is its answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamms.data.example import IMAGE
from adamms.errors import AdammsError, nearest

KEYS = ("conversations", "messages")
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
ROLES = {
    "human": USER,
    "user": USER,
    "gpt": ASSISTANT,
    "assistant": ASSISTANT,
    "system": SYSTEM,
    "developer": SYSTEM,
}
TEXT_PARTS = ("text", "input_text")
IMAGE_PARTS = ("image", "image_url", "input_image")
NO_VIDEO = (
    "it has a video, which is not asked about; give frames of it as several images: "
    '"images": ["frames/1.png", "frames/2.png"]'
)
FURTHER = "further turns"  # the column that counts them


@dataclass(frozen=True)
class Turn:
    """What one side says.

    Args:
        text: with IMAGE where a picture stands.
        pictures: of the parts that bring their own; None for one that the row has.
    """

    role: str
    text: str
    pictures: tuple[Any, ...] = ()


def is_conversation(values: Mapping[str, Any]) -> bool:
    return any(values.get(key) is not None for key in KEYS)


def as_question(values: Mapping[str, Any]) -> dict[str, Any]:
    """The row with `question`, `answer` and `images` in the place of its conversation.

    >>> turns = [{"from": "human", "value": "<image>\\nWhat?"}, {"from": "gpt", "value": "A car."}]
    >>> as_question({"image": "1.png", "conversations": turns})
    {'images': ['1.png'], 'question': '<image>\\nWhat?', 'answer': 'A car.'}

    Raises:
        AdammsError: it is none that can be asked.
    """
    (key, given), *others = [(key, values[key]) for key in KEYS if values.get(key) is not None]
    if others:
        raise AdammsError(f"has {key!r} and {others[0][0]!r}; expected one of them")
    if not isinstance(given, list):
        raise AdammsError(f"{key!r} is a {type(given).__name__}; expected a list of turns")
    turns = [_turn(turn, f"{key}[{place}]") for place, turn in enumerate(given)]
    said = [turn for turn in turns if turn.role != SYSTEM]
    if not said or said[0].role != USER:
        raise AdammsError(f"{key!r} does not begin with what the user asks")
    rest = {name: value for name, value in values.items() if name not in (key, "image", "images")}
    rest["images"] = _pictures(values, turns, said[0])
    rest["question"] = said[0].text
    if len(said) > 1 and said[1].role == ASSISTANT and "answer" not in values:
        rest["answer"] = said[1].text
    if system := [turn.text for turn in turns if turn.role == SYSTEM]:
        rest[SYSTEM] = "\n".join(system)
    if len(said) > 2:
        rest[FURTHER] = len(said) - 2
    return rest


def _turn(turn: Any, where: str) -> Turn:
    if not isinstance(turn, dict):
        raise AdammsError(f"{where} is a {type(turn).__name__}; expected an object")
    role = turn.get("role") or turn.get("from")
    if not isinstance(role, str) or role not in ROLES:
        raise AdammsError(
            f"{where} is from {role!r}; expected one of: {', '.join(ROLES)}.{nearest(str(role), ROLES)}"
        )
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        parts = [_part(part, where) for part in content]
        text = "\n".join(text for text, _ in parts)
        return Turn(ROLES[role], text, tuple(picture for text, picture in parts if text == IMAGE))
    if not isinstance(content, str):
        raise AdammsError(f"{where} says {str(content)[:60]!r}; expected text, or a list of parts")
    if "<video>" in content:
        raise AdammsError(NO_VIDEO)
    return Turn(ROLES[role], content, (None,) * content.count(IMAGE))


def _part(part: Any, where: str) -> tuple[str, Any]:
    """The text of a part; of a picture IMAGE, and the picture if it is there."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXT_PARTS and isinstance(part.get("text"), str):
        return part["text"], None
    if kind in IMAGE_PARTS:
        found = next((part[key] for key in ("image_url", "image", "url", "path") if part.get(key)), None)
        return IMAGE, found.get("url", found) if isinstance(found, dict) else found
    if "video" in str(kind):
        raise AdammsError(NO_VIDEO)
    raise AdammsError(
        f"{where} has a part of type {kind!r}; expected {', '.join((*TEXT_PARTS, *IMAGE_PARTS))}."
        + nearest(str(kind), (*TEXT_PARTS, *IMAGE_PARTS))
    )


def _pictures(values: Mapping[str, Any], turns: Sequence[Turn], asked: Turn) -> list[Any]:
    """Those of the question; the row's own go to the places that have none, in order."""
    own = pictures_of(values)
    places = [picture for turn in turns for picture in turn.pictures]
    if not places:
        return own
    if (empty := places.count(None)) != len(own):
        raise AdammsError(f"has {empty} places for images ({IMAGE}) and {len(own)} images; expected as many")
    rest: Iterator[Any] = iter(own)
    filled = [next(rest) if picture is None else picture for picture in places]
    start = sum(len(turn.pictures) for turn in turns[: turns.index(asked)])
    return filled[start : start + len(asked.pictures)]


def pictures_of(values: Mapping[str, Any]) -> list[Any]:
    """What `image` and `images` hold.

    Raises:
        AdammsError: both are there.
    """
    given = {key: values[key] for key in ("image", "images") if values.get(key) is not None}
    if len(given) > 1:
        raise AdammsError("has 'image' and 'images'; expected one of them")
    return [each for value in given.values() for each in (value if isinstance(value, list) else [value])]
