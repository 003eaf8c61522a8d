"""Which tensor of one model, or which parts, each tensor of another corresponds to: by content alone.

Works on two sets of sketches in memory. Reads no file; names only say which tensor is meant.

Matrices come first: whole ones of one shape, then compositions of blocks of rows, then a common beginning
(embeddings of other lengths). Vectors (norms, biases) follow: whole, by their values around their mean. A
vector that is not found so is looked for in the compositions of the matrices, because a bias lies as its
weight does.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch

from adamms.mapping.content.blocks import Composition, find_compositions
from adamms.mapping.content.noise import (
    KINDRED,
    KINDRED_VECTORS,
    Noise,
    cosine,
    distance,
    measure_noise,
    strange_parts,
)
from adamms.mapping.content.sketch import Sketch, SketchedModel
from adamms.mapping.content.vectors import composed_vector
from adamms.mapping.content.whole import STRANGE_PARTS, Match, compare, judge
from adamms.mapping.expression import Expression, Read, Shape, Slice, Tokens
from adamms.mapping.finding import GRADES, Finding

# Matrices with more rows are taken for tables of tokens first, whose parts are no heads.
TALL = 1 << 15
# A donor's matrix must fill so much of a longer one of the target.
LEAST_COMMON = 0.6
# By so much a composition must be closer than a whole tensor with strange parts.
STRANGE_GAIN = 1e-3

# (target rows, donor rows) -> for every target row the donor's row of the same token, or -1; None if unknown.
RowMap = Callable[[int, int], tuple[int, ...] | None]


def match_models(target: SketchedModel, donor: SketchedModel, rows: RowMap) -> dict[str, Match]:
    """Target tensor -> match, for every sketched tensor of the target."""
    compared = compare(target.matrices, donor.matrices)
    noise = measure_noise(compared.excess, compared.pairs + _block_pairs(target.matrices, donor.matrices))
    found = {
        sketch.name: judge(sketch, compared.best[sketch.name], noise)
        for sketch in target.matrices
        if sketch.name in compared.best
    }
    compositions: list[Composition] = []
    for width in dict.fromkeys(sketch.shape[1:] for sketch in target.matrices):
        donors = [sketch for sketch in donor.matrices if sketch.shape[1:] == width]
        left = [sketch for sketch in target.matrices if sketch.shape[1:] == width and _is_open(found, sketch)]
        for sketch in left:
            if len(sketch.rows) > TALL:
                found[sketch.name] = _better(found.get(sketch.name), _beginning(sketch, donors, rows, noise))
        left = [sketch for sketch in left if _is_open(found, sketch)]
        for name, composition in find_compositions(left, donors, noise).items():
            composed = _composed(target.sketches[name], composition, donor.sketches, noise)
            whole = found.get(name)
            beaten = whole is None or whole.finding.cosine + STRANGE_GAIN < composed.finding.cosine
            if composed.finding.found and beaten:
                found[name] = composed
                compositions.append(composition)
        for sketch in left:
            if not _settled(found, sketch):
                found[sketch.name] = _better(found.get(sketch.name), _beginning(sketch, donors, rows, noise))
    compared = compare(target.vectors, donor.vectors)
    noise = Noise(compared.pairs, kindred=KINDRED_VECTORS)
    for sketch in target.vectors:
        best = compared.best.get(sketch.name)
        whole = None if best is None else judge(sketch, best, noise)
        found[sketch.name] = _closest(whole, composed_vector(sketch, donor, compositions, noise))
    return found


def _settled(found: dict[str, Match], sketch: Sketch) -> bool:
    return sketch.name in found and found[sketch.name].finding.found


def _is_open(found: dict[str, Match], sketch: Sketch) -> bool:
    """Whether parts of donors may be closer than what was found: nothing, or a tensor with strange parts."""
    if not _settled(found, sketch):
        return True
    return found[sketch.name].strange > 0 and len(sketch.rows) <= TALL


def _better(first: Match | None, second: Match | None) -> Match:
    """The one with the better grade, else with the higher cosine."""
    both = [match for match in (first, second) if match is not None]
    both.sort(key=lambda match: (GRADES.index(match.finding.grade), -match.finding.cosine))
    return both[0] if both else Match(None, Finding("none", 0.0, note="no tensor of its shape"))


def _closest(whole: Match | None, composed: Match | None) -> Match:
    """The closer of two readings of a vector: with its heads in another order it half resembles itself."""
    if whole is None or composed is None or not whole.finding.found:
        return _better(whole, composed)
    gain = composed.finding.cosine - whole.finding.cosine
    return composed if gain > STRANGE_GAIN else whole


def _block_pairs(targets: Sequence[Sketch], donors: Sequence[Sketch]) -> int:
    """How many pairs of blocks there are at the most: of 16 rows each way, of one width."""
    blocks = Counter[Shape]()
    for sketch in donors:
        blocks[sketch.shape[1:]] += len(sketch.rows) // 16
    return sum(blocks[sketch.shape[1:]] * (len(sketch.rows) // 16) for sketch in targets)


def _composed(target: Sketch, composition: Composition, donors: Mapping[str, Sketch], noise: Noise) -> Match:
    """The match that a composition gives, judged on all rows."""
    value = composition.value(donors)
    similarity = cosine(target.rows, value)
    others = [] if composition.runner_up is None else [composition.runner_up]
    grade = noise.grade(similarity, composition.numbers, others)
    if grade == "sure" and similarity < KINDRED:  # some blocks, each judged by few numbers, may be misplaced
        grade = "unsure"
    finding = Finding(
        grade,
        similarity,
        " + ".join(composition.sources),
        composition.runner_up,
        composition.rival,
        distance(target.rows, value),
    )
    return Match(composition.expression({name: donors[name].shape for name in composition.sources}), finding)


def _beginning(target: Sketch, donors: Sequence[Sketch], rows: RowMap, noise: Noise) -> Match | None:
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
    expression: Expression = Tokens(Read(donor.name), rows)
    if rows == tuple(range(count)):
        expression = Slice(Read(donor.name), 0, 0, count)
    explained = float((mine * theirs).sum()) / max(float(theirs.norm()), 1e-30)
    return explained, Match(expression, finding)
