"""Vectors that lie as matrices do: a fused bias is made of parts in the order of its weight's.

Takes the layouts that were found for matrices and looks for the donor vectors that fit into them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from adamms.mapping.content.blocks import Layout
from adamms.mapping.content.noise import Noise, cosine, distance
from adamms.mapping.content.sketch import Sketch, SketchedModel
from adamms.mapping.expression import Expression, Read, Slice, join
from adamms.mapping.plan import GRADES, Evidence


@dataclass(frozen=True)
class Piece:
    """Values `start:stop` of one source of `length` values; which donor vector that is, is to be found."""

    source: int
    length: int
    start: int
    stop: int


@dataclass(frozen=True)
class Composition:
    """A vector put together from donor vectors, and how well it fits."""

    expression: Expression
    evidence: Evidence


def composition(
    target: Sketch, donor: SketchedModel, layouts: Sequence[Layout], noise: Noise
) -> Composition | None:
    """The best composition of donor vectors in a layout that some matrix of as many rows has."""
    patterns = dict.fromkeys(
        _pattern(layout, donor)
        for layout in layouts
        if sum(segment.length for segment in layout.segments) == len(target.rows)
    )
    tried = [found for pattern in patterns if (found := _fill(target, pattern, donor.vectors, noise))]
    return max(tried, key=lambda found: found.evidence.cosine, default=None)


def _pattern(layout: Layout, donor: SketchedModel) -> tuple[Piece, ...]:
    sources = layout.sources
    return tuple(
        Piece(sources.index(s.name), donor.shape(s.name)[0], s.start, s.stop) for s in layout.segments
    )


def _fill(
    target: Sketch, pattern: tuple[Piece, ...], donors: Sequence[Sketch], noise: Noise
) -> Composition | None:
    """Choose a donor vector for each source of the pattern, by the values that it would contribute."""
    values = target.rows.split([piece.stop - piece.start for piece in pattern])
    chosen: dict[int, Sketch] = {}
    parts: list[Evidence] = []
    for source in dict.fromkeys(piece.source for piece in pattern):
        pieces = [piece for piece in pattern if piece.source == source]
        mine = torch.cat([v for v, piece in zip(values, pattern, strict=True) if piece.source == source])
        candidates = [donor for donor in donors if len(donor.rows) == pieces[0].length]
        if not candidates:
            return None
        evidence, chosen[source] = _best(mine, pieces, candidates, noise)
        parts.append(evidence)
    worst = max(parts, key=lambda part: (GRADES.index(part.grade), -part.cosine))
    value = torch.cat([chosen[piece.source].rows[piece.start : piece.stop] for piece in pattern])
    slices = tuple(Slice(Read(chosen[p.source].name), 0, p.start, p.stop) for p in pattern)
    shapes = {sketch.name: sketch.shape for sketch in chosen.values()}
    evidence = Evidence(
        worst.grade,
        cosine(_centred(target.rows), _centred(value)),
        " + ".join(dict.fromkeys(sketch.name for sketch in chosen.values())),
        *(worst.runner_up, worst.rival),
        distance=distance(target.rows, value),
        note="laid out as a matrix of as many rows",
    )
    return Composition(join(slices, 0, shapes.__getitem__), evidence)


def _best(
    mine: torch.Tensor, pieces: Sequence[Piece], candidates: Sequence[Sketch], noise: Noise
) -> tuple[Evidence, Sketch]:
    """The candidate whose pieces resemble the target's values `mine` most."""
    scores = [
        cosine(_centred(mine), _centred(torch.cat([donor.rows[p.start : p.stop] for p in pieces])))
        for donor in candidates
    ]
    first, *others = sorted(range(len(scores)), key=lambda i: -scores[i])
    grade = noise.grade(scores[first], len(mine), [scores[other] for other in others[:2]])
    second, rival = (scores[others[0]], candidates[others[0]].name) if others else (None, "")
    return Evidence(grade, scores[first], candidates[first].name, second, rival), candidates[first]


def _centred(values: torch.Tensor) -> torch.Tensor:
    return values - values.mean()
