"""Tables of tokens of other lengths: their rows correspond from the first on, or token by token.

Works on sketches. What a token is, it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adamms.mapping.content.noise import KINDRED, Noise, cosine, distance, strange_parts
from adamms.mapping.content.sketch import Sketch
from adamms.mapping.content.whole import STRANGE_PARTS, Match
from adamms.mapping.expression import Expression, Slice, Tokens
from adamms.mapping.finding import Finding
from adamms.system.on_demand import torch

# A donor's matrix must fill so much of a longer one of the target.
LEAST_COMMON = 0.6

# (target rows, donor rows) -> for every target row the donor's row of the same token, or -1; None if unknown.
RowMap = Callable[[int, int], tuple[int, ...] | None]


def beginning(target: Sketch, donors: Sequence[Sketch], rows: RowMap, noise: Noise) -> Match | None:
    """The donor matrix of another length whose rows, from the first on or by token, are the target's.

    A matrix that is no table of tokens may be fused of several, of which a donor's is the first. That only
    counts for most of the rows, and where blocks would have found the other parts.
    """
    best: tuple[float, Match] | None = None
    for donor in donors:
        common = min(len(target.rows), len(donor.rows))
        if len(donor.rows) == len(target.rows) or common < LEAST_COMMON * len(target.rows):
            continue
        prefix = (*range(common), *[-1] * (len(target.rows) - common))
        for aligned in (prefix, rows(len(target.rows), len(donor.rows))):
            if aligned is not None:
                tried = _aligned(target, donor, aligned, noise)
                best = tried if best is None or tried[0] > best[0] else best
    return None if best is None else best[1]


def _aligned(target: Sketch, donor: Sketch, rows: tuple[int, ...], noise: Noise) -> tuple[float, Match]:
    """(the part of the target that is explained, the match) when donor rows stand where `rows` says."""
    index = torch.tensor(rows)
    mine, theirs = target.rows[index >= 0], donor.rows[index[index >= 0]]
    similarity = cosine(mine, theirs)
    grade = noise.grade(similarity, mine.numel())
    if grade == "sure" and (similarity < KINDRED or strange_parts(mine, theirs) > STRANGE_PARTS):
        grade = "unsure"
    count = len(target.rows)
    note = f"{len(mine)} of {count} rows, of the donor's {len(donor.rows)}"
    finding = Finding(grade, similarity, donor.name, distance=distance(mine, theirs), note=note)
    expression: Expression = Tokens(donor.source, rows)
    if rows == tuple(range(count)):
        expression = Slice(donor.source, 0, 0, count)
    explained = float((mine * theirs).sum()) / max(float(theirs.norm()), 1e-30)
    return explained, Match(expression, finding)
