"""What changed: every example with its answers along the grid, as the data that the page's script shows.

Decides order, what is cut, and what there is no room for, and says so; draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adamms.engines.answer import normalised
from adamms.engines.thought import with_thought_in_brief
from adamms.evaluate.evaluation import Evaluation
from adamms.merge.candidate import Candidate
from adamms.report import words
from adamms.report.answered import Answered
from adamms.report.result import Result
from adamms.system.sizes import scaled

if TYPE_CHECKING:
    from adamms.report.page.images import Album

MOST_TEXT = 2_000  # characters of one answer or question
ROOM = 8_000_000  # characters of all of them together


@dataclass(frozen=True)
class Answers:
    """The section of the answers.

    Args:
        data: what the script reads, plain.
        tasks: names, for the filter.
        changed: how many of all examples have an answer that changes.
        labelled: whether right and wrong are known.
        notes: sentences: what is not in the page, and why.
    """

    data: Mapping[str, Any]
    tasks: tuple[str, ...]
    changed: int
    labelled: bool
    notes: tuple[str, ...]


def answers(result: Result, room: int = ROOM, album: Album | None = None) -> Answers | None:
    """The section; None where no candidate was asked.

    Args:
        result: the run.
        room: characters of text that the page has room for.
        album: takes the pictures.
    """
    if not any(one.texts for one in result.answered):
        return None
    from adamms.report.page.images import Album  # Pillow and more, which few runs have use for

    album, left = Album() if album is None else album, room
    candidates = sorted({candidate for one in result.answered for candidate in one.texts})
    grid = [candidate for candidate in candidates if candidate != result.several]
    counts = [changes(one, grid, result.axis is not None) for one in result.answered]
    order = sorted(range(len(counts)), key=lambda index: (-counts[index], index))
    rows: dict[int, dict[str, Any]] = {}
    cut = 0
    for index in order:
        one = result.answered[index]
        row = _row(one, candidates, _right(one, result.scored), album) | {"changes": counts[index]}
        told = (row["id"], row["question"], row["label"] or "", *row["texts"], *row["columns"].values())
        size = sum(map(len, told))
        if size > left:
            break
        left -= size
        rows[index] = row
        given = map(with_thought_in_brief, set(one.texts.values()))
        cut += sum(len(text) > MOST_TEXT for text in (one.example.question, *given))
    places: dict[Candidate | None, int] = {candidate: place for place, candidate in enumerate(candidates)}
    return Answers(
        data={
            "candidates": list(map(str, candidates)),
            "noun": words.noun(candidates),
            "chosen": places.get(result.winner(None)),
            "base": places.get(result.unmerged),
            "rows": [rows[index] for index in sorted(rows)],
            "images": album.addresses,
        },
        tasks=tuple(dict.fromkeys(one.example.task for one in result.answered)),
        changed=sum(count > 0 for count in counts),
        labelled=any(right is not None for row in rows.values() for right in row["right"]),
        notes=tuple(_notes(len(counts) - len(rows), room, cut, album, bool(result.target))),
    )


def changes(one: Answered, candidates: Sequence[Candidate], ordered: bool) -> int:
    """How often the answer changes from one candidate to the next, as the search sees it.

    Args:
        one: the example with its answers.
        candidates: in order.
        ordered: False where they lie along several axes: then one less than there are different answers.
    """
    given = [normalised(one.texts[c]) for c in candidates if c in one.texts]
    if not ordered:
        return len(set(given)) - 1
    return sum(before != after for before, after in pairwise(given))


def _right(one: Answered, scored: Evaluation) -> dict[str, float]:
    """Answer -> how right it is, from 0 to 1, of the answers of candidates that were scored."""
    found = {c: scores.points.get(one.example.task, {}) for c, scores in scored.candidates.items()}
    id = one.example.id
    return {one.texts[c]: points[id] for c, points in found.items() if id in points and c in one.texts}


def _row(
    one: Answered, candidates: Sequence[Candidate], right: Mapping[str, float], album: Album
) -> dict[str, Any]:
    """The example as plain data, every different answer once."""
    example = one.example
    texts = list(dict.fromkeys(one.texts[c] for c in candidates if c in one.texts))
    return {
        "id": example.id,
        "task": example.task,
        "question": _clipped(example.question),
        "label": one.label,
        "texts": [_clipped(with_thought_in_brief(text)) for text in texts],
        "right": [right.get(text) for text in texts],
        "given": [texts.index(one.texts[c]) if c in one.texts else -1 for c in candidates],
        "images": [album.place(medium) for medium in example.media],
        "video": example.video is not None,  # the last of these is its first frame
        "columns": {name: _clipped(text) for name, text in one.columns.items()},
    }


def _clipped(text: str) -> str:
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[:MOST_TEXT]} ... ({len(text) - MOST_TEXT} more characters)"


def _notes(missing: int, room: int, cut: int, album: Album, generated: bool) -> list[str]:
    """What is not in the page; answers that were not generated come from logs."""
    notes = []
    if missing:
        notes.append(
            f"{missing} examples are not in this page, which has room for {scaled(room, 'B')} of "
            f"text; those whose answers change most came first."
        )
    if cut:
        notes.append(f"{cut} long texts are cut after {MOST_TEXT} characters.")
    if album.left_out:
        notes.append(
            f"{len(album.left_out)} images are not in this page, for want of room; those whose answers "
            f"change most came first."
        )
    if album.unreadable:
        why = next(iter(album.unreadable.values()))
        notes.append(f"{len(album.unreadable)} images could not be read, the first: {why}.")
    where = "answers.jsonl beside this page has all." if generated else "The logs have all."
    return [*notes, where] if notes else []
