"""A plan as a tree: what is merged and out of what, what is kept and why.

Tensors whose names differ only in numbers are one branch. Plain lines; the console and the page draw them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adamms.mapping.expression_text import to_text
from adamms.mapping.plan import Plan, Slot
from adamms.report import words

NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
EXPERT = re.compile(r"(?<=\bexperts\.)\d+(?=\.)")
# Branches of one kind that are shown; the rest is counted.
SHOWN = 24
# Characters of an expression that are shown: those of grouped weights name every group.
LONG = 160


@dataclass(frozen=True)
class Branch:
    """A line and what hangs from it."""

    text: str
    below: Sequence["Branch"] = ()


def plan_tree(plan: Plan) -> Branch:
    """The whole plan: first what is merged, by the tensors' patterns; then what is kept, by reason."""
    merged = [slot for slot in plan.slots if slot.merged]
    kept: dict[str, list[Slot]] = {}
    for slot in plan.slots:
        if not slot.merged:
            kept.setdefault(slot.reason, []).append(slot)
    groups = [("merged", merged), *((f"kept, {words.printable(why)}", slots) for why, slots in kept.items())]
    branches = [Branch(f"{what}: {_size(slots)}", _patterns(slots)) for what, slots in groups]
    return Branch(plan.target, branches)


def _patterns(slots: Iterable[Slot]) -> list[Branch]:
    """One branch per pattern and shape, in the order in which they first appear."""
    groups: dict[tuple[str, tuple[int, ...]], list[Slot]] = {}
    for slot in slots:
        groups.setdefault((_pattern(slot.name), tuple(slot.shape)), []).append(slot)
    branches = []
    for (pattern, shape), alike in groups.items():
        times = f"{len(alike)} x " if len(alike) > 1 else ""
        below = [Branch(line) for line in _sources(alike)]
        branches.append(Branch(f"{pattern}  {times}{list(shape)}", below))
    rest = len(branches) - SHOWN
    return [*branches[:SHOWN], Branch(f"and {rest} more patterns")] if rest > 0 else branches


def _pattern(text: str) -> str:
    """Names without their numbers: `{e}` for an expert's, `{i}` for any other."""
    return NUMBER.sub("{i}", EXPERT.sub("{e}", text))


def _sources(alike: Sequence[Slot]) -> list[str]:
    """Out of what the tensors of one pattern are made, each donor's own pattern once."""
    found: dict[str, None] = {}
    for slot in alike:
        for donor, expression in slot.donors.items():
            text = _pattern(to_text(expression))
            found[f"{donor}: {text if len(text) <= LONG else text[: LONG - 4] + ' ...'}"] = None
    return list(found)


def _size(slots: Sequence[Slot]) -> str:
    count = words.parameters(sum(slot.elements for slot in slots))
    return f"{len(slots)} tensor{'' if len(slots) == 1 else 's'}, {count} parameters"
