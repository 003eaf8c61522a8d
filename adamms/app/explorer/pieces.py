"""What the page shows of answers, as HTML. Everything that a model or a person wrote is escaped by Jinja."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any

from adamms.app.explorer.tokens import Word
from adamms.engines.answer import Answer, normalised
from adamms.engines.thought import split_thought, with_thought_in_brief

FILES = Path(__file__).parent
COLOURS = 6  # of the strip's answers; then they begin again
WORDS = 60  # tokens that are shown one by one


@dataclass(frozen=True)
class Said:
    """One model's answer.

    Args:
        who: the model, for people.
        what: of the merge its settings, of the others what they are.
        kind: "target", "merge" or "donor".
        answer: None where there is none yet.
        words: its tokens.
        note: instead of an answer, or beside it.
    """

    who: str
    what: str
    kind: str
    answer: Answer | None = None
    words: tuple[Word, ...] = ()
    note: str = ""

    @property
    def text(self) -> str:
        """Without a thought before it."""
        return "" if self.answer is None else self.answer.said

    @property
    def thought(self) -> str:
        return "" if self.answer is None else split_thought(self.answer.text)[0]

    @property
    def probability(self) -> float | None:
        """Of the whole answer; None where nobody knows."""
        return exp(self.answer.logprob) if self.answer is not None and self.answer.tokens else None


@dataclass(frozen=True)
class Cell:
    """One place of the strip; `here`: the dials are at it, `changed`: another answer than before it."""

    value: str
    text: str | None
    kind: str
    here: bool
    changed: bool


def answers(said: Sequence[Said]) -> str:
    """The answers side by side; the merge's says whom it is like."""
    merge = next((one for one in said if one.kind == "merge" and one.answer is not None), None)
    alike = [
        one.who
        for one in said
        if merge is not None and one.kind != "merge" and one.answer is not None and _same(one, merge)
    ]
    known = [one for one in said if one.kind != "merge" and one.answer is not None]
    like = f"as {' and '.join(alike)}" if alike else ("unlike both parents" if len(known) > 1 else "")
    return _render("answers", said=said, like=like, most=WORDS)


def strip(name: str, found: Sequence[tuple[str, Answer | None, bool]]) -> str:
    """The answers along the grid, and where they change.

    Args:
        name: of the key that varies.
        found: (its value, the answer if it is known, whether the dials are there).
    """
    kinds: dict[str, int] = {}
    cells, before = [], None
    for value, answer, here in found:
        now = None if answer is None else normalised(answer.text)
        kind = "" if now is None else f"k{kinds.setdefault(now, len(kinds)) % COLOURS}"
        text = None if answer is None else with_thought_in_brief(answer.text)
        cells.append(Cell(value, text, kind, here, None not in (before, now) and before != now))
        before = now
    changes = [(a.value, b.value) for a, b in pairwise(cells) if b.changed]
    return _render(
        "strip", name=name, cells=cells, changes=changes, whole=all(c.text is not None for c in cells)
    )


def notice(text: str, bad: bool = True) -> str:
    """What went wrong, or well; "" for nothing."""
    return _render("notice", text=text, bad=bad) if text else ""


def picture(addresses: Sequence[str], words: str, label: str) -> str:
    """The images as the models see them, and what the data say is right."""
    return _render("picture", addresses=addresses, words=words, label=label)


def heading(title: str, *lines: str) -> str:
    return _render("heading", title=title, lines=lines)


def _same(a: Said, b: Said) -> bool:
    assert a.answer is not None
    assert b.answer is not None
    return normalised(a.answer.text) == normalised(b.answer.text)


def _render(macro: str, **given: Any) -> str:
    from adamms.report.page.render import templates  # jinja2

    environment = templates(FILES)
    environment.filters["percent"] = _percent
    return str(getattr(environment.get_template("pieces.html").module, macro)(**given))


def _percent(p: float) -> str:
    """A probability for people: never 100% or 0% of what is not certain.

    >>> _percent(0.914), _percent(0.99999), _percent(0.0123), _percent(1e-9)
    ('91%', '>99.9%', '1.2%', '<0.1%')
    """
    if 0.001 <= p <= 0.999:
        return f"{100 * p:.0f}%" if 0.1 <= p < 0.995 else f"{100 * p:.1f}%"
    return "100%" if p >= 1 else ">99.9%" if p > 0.5 else "<0.1%"
