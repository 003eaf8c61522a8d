"""Vectors that lie as matrices do: a fused bias is made of parts in the order of its weight's.

Takes the compositions that were found for matrices and looks for the donor vectors that fit into them.
"""

from __future__ import annotations

from collections.abc import Sequence

from adamms.mapping.content.blocks import Composition, Segment
from adamms.mapping.content.noise import Noise, centred, cosine, distance
from adamms.mapping.content.sketch import Sketch, SketchedModel
from adamms.mapping.content.whole import Match
from adamms.mapping.expression import Read, Slice
from adamms.mapping.finding import GRADES, Finding
from adamms.mapping.simplify import join
from adamms.system.on_demand import torch


def composed_vector(
    target: Sketch, donor: SketchedModel, compositions: Sequence[Composition], noise: Noise
) -> Match | None:
    """The best composition of donor vectors, laid out as some matrix of as many rows."""
    patterns = {
        # The same layout of other tensors, as in another layer, needs no second look.
        tuple(
            (composition.sources.index(s.name), len(donor.sketches[s.name].rows), s.start, s.stop)
            for s in composition.segments
        ): composition.segments
        for composition in compositions
        if composition.rows == len(target.rows)
    }
    tried = [found for segments in patterns.values() if (found := _fill(target, segments, donor, noise))]
    return max(tried, key=lambda found: found.finding.cosine, default=None)


def _fill(target: Sketch, segments: Sequence[Segment], donor: SketchedModel, noise: Noise) -> Match | None:
    """Choose a donor vector for each matrix in the pattern, by the values that it would contribute."""
    values = target.rows.split([segment.length for segment in segments])
    chosen: dict[str, Sketch] = {}
    parts: list[Finding] = []
    for source in dict.fromkeys(segment.name for segment in segments):
        mine = torch.cat([v for v, segment in zip(values, segments, strict=True) if segment.name == source])
        taken = [segment for segment in segments if segment.name == source]
        candidates = [
            vector for vector in donor.vectors if len(vector.rows) == len(donor.sketches[source].rows)
        ]
        if not candidates:
            return None
        finding, chosen[source] = _best(mine, taken, candidates, noise)
        parts.append(finding)
    worst = max(parts, key=lambda part: (GRADES.index(part.grade), -part.cosine))
    value = torch.cat([chosen[s.name].rows[s.start : s.stop] for s in segments])
    slices = [Slice(Read(chosen[s.name].name), 0, s.start, s.stop) for s in segments]
    finding = Finding(
        worst.grade,
        cosine(centred(target.rows), centred(value)),
        " + ".join(dict.fromkeys(sketch.name for sketch in chosen.values())),
        worst.runner_up,
        worst.rival,
        distance(target.rows, value),
        note="laid out as a matrix of as many rows",
    )
    return Match(join(slices, 0, donor.shape), finding)


def _best(
    mine: torch.Tensor, segments: Sequence[Segment], candidates: Sequence[Sketch], noise: Noise
) -> tuple[Finding, Sketch]:
    """The candidate whose segments resemble the target's values `mine` most."""
    scores = [
        cosine(centred(mine), centred(torch.cat([donor.rows[s.start : s.stop] for s in segments])))
        for donor in candidates
    ]
    first, *others = sorted(range(len(scores)), key=lambda i: -scores[i])
    grade = noise.grade(scores[first], len(mine), [scores[other] for other in others[:2]])
    second, rival = (scores[others[0]], candidates[others[0]].name) if others else (None, "")
    return Finding(grade, scores[first], candidates[first].name, second, rival), candidates[first]
