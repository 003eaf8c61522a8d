"""Experts: a stack's matrices put together again, and experts that a donor has in another order.

Works on matches and plans. Does not compare.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from adamms.mapping.content.places import place_of
from adamms.mapping.content.whole import Match
from adamms.mapping.expression import Expression, Pick, Read, Stack, parts_of
from adamms.mapping.finding import GRADES
from adamms.mapping.plan import Difference, Plan
from adamms.mapping.simplify import Shapes, stack

# Names of sources that a finding lists.
LISTED = 2
NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def together(parts: Sequence[Match], shape: Shapes) -> Match:
    """The match of a tensor from those of its matrices; as sure as the least sure of them.

    Args:
        parts: one, or of a stack all matrices' in order.
        shape: of the donor's tensors.
    """
    if len(parts) == 1:
        return parts[0]
    worst = max((part.finding for part in parts), key=lambda f: (GRADES.index(f.grade), -f.cosine))
    found = [part.expression for part in parts if part.expression is not None]
    names = dict.fromkeys(part.finding.nearest.partition("[")[0] for part in parts if part.finding.nearest)
    listed = " + ".join([*names][:LISTED]) + (
        f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    )
    distances = [part.finding.distance for part in parts if part.finding.distance is not None]
    far = (sum(d * d for d in distances) / len(distances)) ** 0.5 if distances else None
    finding = replace(worst, nearest=listed, rival=worst.rival.partition("[")[0], distance=far)
    if len(found) < len(parts):
        grade = "unsure" if found else worst.grade
        return Match(None, replace(finding, grade=grade, note=f"{len(found)} of {len(parts)} experts found"))
    strange = max(part.strange for part in parts)
    order = next((part.order for part in parts if part.order), "")
    return Match(stack(found, shape), finding, strange, order)


def in_other_order(plan: Plan) -> Iterator[Difference]:
    """Donors whose experts were found in another order than the target's."""
    for donor in plan.donors:
        moved: dict[str, str] = {}
        for slot in plan.slots:
            if donor in slot.donors:
                pairs = [pair for pair in _experts(slot.name, slot.donors[donor]) if pair[0] != pair[1]]
                if pairs:
                    layer = place_of(slot.name)[0] or slot.name
                    moved.setdefault(layer, ", ".join(f"{one} <- {other}" for one, other in pairs[:LISTED]))
        if moved:
            layer, pairs_text = next(iter(moved.items()))
            said = f"{len(moved)} layers, put in order with their router; in {layer} {pairs_text}, ..."
            yield Difference(donor, "order of experts", "", said)


def _experts(name: str, expression: Expression) -> Iterator[tuple[int, int]]:
    """(expert of the target, expert of the donor) for what is of one expert; none where that is not told."""
    if isinstance(expression, Stack):
        for index, part in enumerate(expression.parts):
            yield from ((index, other) for other in _sources(part))
    elif len(numbers := _numbers(name)) == 1:
        yield from ((numbers[0], other) for other in _sources(expression))


def _sources(expression: Expression) -> set[int]:
    """The experts that one expert is made of."""
    if isinstance(expression, Pick):
        return {expression.index}
    if isinstance(expression, Read):
        return {*_numbers(expression.name)[:1]}
    return {index for part in parts_of(expression) for index in _sources(part)}


def _numbers(name: str) -> list[int]:
    """The numbers in a name within its layer."""
    return [int(number) for number in NUMBER.findall(place_of(name)[1])] if place_of(name)[0] else []
