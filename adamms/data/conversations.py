"""A conversation, as LLaVA or OpenAI writes it, as the plain fields of a question.

The first thing that the user says is the question, and what follows it is its answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamms.data.example import IMAGE, MARK, VIDEO
from adamms.errors import AdammsError, kind_of, nearest

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
VIDEO_PARTS = ("video", "video_url", "input_video")
PARTS = (*TEXT_PARTS, *IMAGE_PARTS, *VIDEO_PARTS)
NOUNS = {IMAGE: "image", VIDEO: "video"}
FURTHER = "further turns"  # the column that counts them


@dataclass(frozen=True)
class Turn:
    """What one side says.

    Args:
        text: with IMAGE where a picture stands, and VIDEO where a video does.
        media: (mark, what the part brings), in order; None for what the row has.
    """

    role: str
    text: str
    media: tuple[tuple[str, Any], ...] = ()


def is_conversation(values: Mapping[str, Any]) -> bool:
    return any(values.get(key) is not None for key in KEYS)


def as_question(values: Mapping[str, Any]) -> dict[str, Any]:
    """The row with `question`, `answer`, `images` and `videos` in the place of its conversation.

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
        raise AdammsError(f"{key!r} is {kind_of(given)}; expected a list of turns")
    own = {IMAGE: pictures_of(values), VIDEO: videos_of(values)}
    # LLaVA-Video's data mark the place of a video as that of an image.
    mark = VIDEO if own[VIDEO] and not own[IMAGE] else IMAGE
    turns = [_turn(turn, f"{key}[{place}]", mark) for place, turn in enumerate(given)]
    said = [turn for turn in turns if turn.role != SYSTEM]
    if not said or said[0].role != USER:
        raise AdammsError(f"{key!r} does not begin with what the user asks")
    media = {f"{noun}s": _media(own[mark], mark, turns, said[0]) for mark, noun in NOUNS.items()}
    taken = {key, *NOUNS.values(), *media}
    rest = {name: value for name, value in values.items() if name not in taken}
    rest |= {name: found for name, found in media.items() if found or name == "images"}
    rest["question"] = said[0].text
    if len(said) > 1 and said[1].role == ASSISTANT and "answer" not in values:
        rest["answer"] = said[1].text
    if system := [turn.text for turn in turns if turn.role == SYSTEM]:
        rest[SYSTEM] = "\n".join(system)
    if len(said) > 2:
        rest[FURTHER] = len(said) - 2
    return rest


def _turn(turn: Any, where: str, mark: str) -> Turn:
    """One side's words.

    Args:
        mark: what IMAGE in a text stands for.
    """
    if not isinstance(turn, dict):
        raise AdammsError(f"{where} is {kind_of(turn)}; expected an object")
    role = turn.get("role") or turn.get("from")
    if not isinstance(role, str) or role not in ROLES:
        raise AdammsError(
            f"{where} is from {role!r}; expected one of: {', '.join(ROLES)}.{nearest(str(role), ROLES)}"
        )
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        parts = [_part(part, where) for part in content]
        text = "\n".join(text for text, _ in parts)
        return Turn(ROLES[role], text, tuple(part for part in parts if part[0] in NOUNS))
    if not isinstance(content, str):
        raise AdammsError(f"{where} says {str(content)[:60]!r}; expected text, or a list of parts")
    content = content.replace(IMAGE, mark)
    return Turn(ROLES[role], content, tuple((found, None) for found in MARK.findall(content)))


def _part(part: Any, where: str) -> tuple[str, Any]:
    """The text of a part; of a picture or a video its mark, and what it brings if that is there."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXT_PARTS and isinstance(part.get("text"), str):
        return part["text"], None
    for mark, kinds in ((IMAGE, IMAGE_PARTS), (VIDEO, VIDEO_PARTS)):
        if kind in kinds:
            keys = (f"{NOUNS[mark]}_url", NOUNS[mark], "url", "path")
            found = next((part[key] for key in keys if part.get(key)), None)
            return mark, found.get("url", found) if isinstance(found, dict) else found
    raise AdammsError(
        f"{where} has a part of type {kind!r}; expected {', '.join(PARTS)}." + nearest(str(kind), PARTS)
    )


def _media(own: list[Any], mark: str, turns: Sequence[Turn], asked: Turn) -> list[Any]:
    """The question's images, or videos; the row's own go to the places that have none, in order."""
    places = [[given for found, given in turn.media if found == mark] for turn in turns]
    if not any(places):
        return own
    if (empty := sum(each.count(None) for each in places)) != len(own):
        noun = f"{NOUNS[mark]}s"
        raise AdammsError(f"has {empty} places for {noun} ({mark}) and {len(own)} {noun}; expected as many")
    rest: Iterator[Any] = iter(own)
    filled = [[next(rest) if given is None else given for given in each] for each in places]
    return filled[turns.index(asked)]


def pictures_of(values: Mapping[str, Any]) -> list[Any]:
    """What `image` and `images` hold.

    Raises:
        AdammsError: both are there.
    """
    given = _one_of(values, "image")
    return [each for value in given.values() for each in (value if isinstance(value, list) else [value])]


def videos_of(values: Mapping[str, Any]) -> list[Any]:
    """What `video` and `videos` hold. A list is the frames of one video in the first, videos in the other.

    Raises:
        AdammsError: both are there.
    """
    given = _one_of(values, "video")
    several = given.get("videos", [])
    return [given["video"]] if "video" in given else several if isinstance(several, list) else [several]


def _one_of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The field, or that of its plural."""
    given = {key: values[key] for key in (name, f"{name}s") if values.get(key) is not None}
    if len(given) > 1:
        raise AdammsError(f"has {name!r} and '{name}s'; expected one of them")
    return given
