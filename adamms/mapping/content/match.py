"""Which tensor of one model, or which parts, each tensor of another corresponds to: by content alone.

Works on two sets of sketches in memory. Reads no file and no name but to say which tensor it means.

Matrices come first: whole ones of one shape, then compositions of blocks of rows, then a common beginning
(embeddings of other lengths). Vectors (norms, biases) follow: whole, by their values around their mean;
what is not found so is looked for in the layouts of the matrices, because a bias lies as its weight does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from adamms.mapping.content.blocks import Layout, find_layouts
from adamms.mapping.content.noise import (
    KINDRED,
    KINDRED_VECTORS,
    Noise,
    cosine,
    distance,
    measure_noise,
    normalised,
    strange_parts,
    variance_beyond_chance,
)
from adamms.mapping.content.sketch import Sketch, SketchedModel
from adamms.mapping.content.vectors import composition
from adamms.mapping.expression import Expression, Read, Shape, Slice, Tokens
from adamms.mapping.plan import GRADES, Evidence

# A whole match may have this share of parts that do not resemble (rows of tokens that one model retrained).
STRANGE_PARTS = 0.1
# Matrices with more rows are taken for tables of tokens first, whose parts are no heads.
TALL = 1 << 15
# A donor's matrix must fill so much of a longer one of the target.
LEAST_COMMON = 0.6
# Two projectors into one language model learn output biases that resemble, without an ancestor. Their
# difference has more than half of the squared norm; that of fine-tuned copies has less.
FAR_VECTOR = 0.5**0.5
# By so much a composition must be closer than a whole tensor with strange parts.
STRANGE_GAIN = 1e-3
# Targets compared at a time, so that the table of cosines stays small for thousands of experts.
TARGETS_AT_ONCE = 256

# (target rows, donor rows) -> for every target row the donor's row of the same token, or -1; None if unknown.
RowMap = Callable[[int, int], tuple[int, ...] | None]


@dataclass(frozen=True)
class Match:
    """What a target tensor corresponds to (None: nothing that could be merged), and the evidence.

    `strange` is the share of a matrix's parts that do not resemble as the others do.
    """

    expression: Expression | None
    evidence: Evidence
    strange: float = 0.0


@dataclass(frozen=True)
class Whole:
    """The best whole donor tensor for one target tensor of the same shape.

    Args:
        cosine, donor: the best.
        others: cosine and name of the next best, up to two.
        contested: the highest cosine that any target tensor has with that donor tensor.
        numbers: compared.
    """

    cosine: float
    donor: Sketch
    others: tuple[tuple[float, str], ...]
    contested: float
    numbers: int


def match_models(target: SketchedModel, donor: SketchedModel, rows: RowMap) -> dict[str, Match]:
    """Target tensor -> match, for every sketched tensor of the target."""
    blocks = sum(_block_comparisons(target.matrices, donor.matrices))
    matrices, excess, pairs = _compare(target.matrices, donor.matrices)
    noise = measure_noise(excess, pairs + blocks)
    found: dict[str, Match] = {}
    layouts: list[Layout] = []
    for sketch in target.matrices:
        if sketch.name in matrices:
            found[sketch.name] = _judge(sketch, matrices[sketch.name], noise)
    for group in _by_width(target.matrices):
        left = [sketch for sketch in group if _is_open(found, sketch)]
        donors = [sketch for sketch in donor.matrices if sketch.shape[1:] == group[0].shape[1:]]
        for sketch in left:
            if len(sketch.rows) > TALL:
                found[sketch.name] = _better(found.get(sketch.name), _beginning(sketch, donors, rows, noise))
        left = [sketch for sketch in left if _is_open(found, sketch)]
        by_name = {sketch.name: sketch for sketch in donors}
        for name, layout in find_layouts(left, donors, noise).items():
            composed = _composed(target.sketches[name], layout, by_name, noise)
            whole = found.get(name)
            beaten = whole is None or whole.evidence.cosine + STRANGE_GAIN < composed.evidence.cosine
            if composed.evidence.found and beaten:
                found[name] = composed
                layouts.append(layout)
        for sketch in left:
            if not _settled(found, sketch):
                found[sketch.name] = _better(found.get(sketch.name), _beginning(sketch, donors, rows, noise))
    vectors, _, pairs = _compare(target.vectors, donor.vectors)
    noise = Noise(pairs, kindred=KINDRED_VECTORS)
    for sketch in target.vectors:
        whole = _judge(sketch, vectors[sketch.name], noise) if sketch.name in vectors else None
        found[sketch.name] = _closest(whole, _composed_vector(sketch, donor, layouts, noise))
    return found


def _settled(found: dict[str, Match], sketch: Sketch) -> bool:
    return sketch.name in found and found[sketch.name].evidence.found


def _is_open(found: dict[str, Match], sketch: Sketch) -> bool:
    """Whether parts of donors may be closer than what was found: nothing, or a tensor with strange parts."""
    if not _settled(found, sketch):
        return True
    return found[sketch.name].strange > 0 and len(sketch.rows) <= TALL


def _better(first: Match | None, second: Match | None) -> Match:
    """The one with the better grade, else with the higher cosine."""
    both = [match for match in (first, second) if match is not None]
    both.sort(key=lambda match: (GRADES.index(match.evidence.grade), -match.evidence.cosine))
    return both[0] if both else Match(None, Evidence("none", 0.0, note="no tensor of its shape"))


def _closest(whole: Match | None, composed: Match | None) -> Match:
    """The closer of two readings of a vector: with its heads in another order it half resembles itself."""
    if whole is None or composed is None or not whole.evidence.found:
        return _better(whole, composed)
    gain = composed.evidence.cosine - whole.evidence.cosine
    return composed if gain > STRANGE_GAIN else whole


def _by_width(sketches: Sequence[Sketch]) -> list[list[Sketch]]:
    groups: dict[Shape, list[Sketch]] = {}
    for sketch in sketches:
        groups.setdefault(sketch.shape[1:], []).append(sketch)
    return list(groups.values())


def _block_comparisons(targets: Sequence[Sketch], donors: Sequence[Sketch]) -> list[int]:
    """How many pairs of blocks there are at the most, per width: of 16 rows each way."""
    rows: dict[Shape, int] = {}
    for sketch in donors:
        rows[sketch.shape[1:]] = rows.get(sketch.shape[1:], 0) + len(sketch.rows) // 16
    return [rows.get(sketch.shape[1:], 0) * (len(sketch.rows) // 16) for sketch in targets]


# ---------------------------------------------------------------- whole tensors


def _compare(
    targets: Sequence[Sketch], donors: Sequence[Sketch]
) -> tuple[dict[str, Whole], list[torch.Tensor], int]:
    """The best donor for each target, the noise in the other pairs' cosines, and the number of pairs."""
    found: dict[str, Whole] = {}
    excess: list[torch.Tensor] = []
    pairs = 0
    shapes = dict.fromkeys(sketch.shape for sketch in targets)
    for shape in shapes:
        mine = [sketch for sketch in targets if sketch.shape == shape]
        theirs = [sketch for sketch in donors if sketch.shape == shape]
        if not theirs:
            continue
        table = torch.cat(
            [
                _stack(mine[start : start + TARGETS_AT_ONCE]) @ _stack(theirs).T
                for start in range(0, len(mine), TARGETS_AT_ONCE)
            ]
        )  # (targets, donors)
        pairs += table.numel()
        numbers = mine[0].rows.numel()
        contested = table.amax(0)
        unmatched = (table < table.amax(1, keepdim=True)) & (table < contested)
        excess.append(variance_beyond_chance(table[unmatched], numbers))
        best = table.topk(min(3, len(theirs)), 1)
        for row, sketch in enumerate(mine):
            values, places = best.values[row].tolist(), best.indices[row].tolist()
            found[sketch.name] = Whole(
                *(values[0], theirs[places[0]]),
                others=tuple(
                    (value, theirs[i].name) for value, i in zip(values[1:], places[1:], strict=True)
                ),
                contested=float(contested[places[0]]),
                numbers=numbers,
            )
    return found, excess, pairs


def _stack(sketches: Sequence[Sketch]) -> torch.Tensor:
    """(tensors, numbers) at norm 1."""
    return normalised(torch.stack([_centred(sketch).flatten() for sketch in sketches]))


def _centred(sketch: Sketch) -> torch.Tensor:
    """Of a vector the values around their mean: norm weights are all near a common one."""
    return sketch.rows - sketch.rows.mean() if sketch.vector else sketch.rows


def _judge(target: Sketch, whole: Whole, noise: Noise) -> Match:
    grade = noise.grade(whole.cosine, whole.numbers, [value for value, _ in whole.others], whole.contested)
    note, strange = "", 0.0
    if target.vector and float(_centred(target).abs().max()) == 0:
        return Match(None, Evidence("none", 0.0, note="its values are all equal: nothing to compare"))
    if grade in ("sure", "tied") and not target.vector:
        strange = strange_parts(target.rows, whole.donor.rows)
        if strange > STRANGE_PARTS:
            grade, note = "unsure", f"{strange:.0%} of its rows resemble other rows or none"
    runner_up, rival = whole.others[0] if whole.others else (None, "")
    far = distance(target.rows, whole.donor.rows)
    if grade in ("sure", "tied") and target.vector and far > FAR_VECTOR:
        grade, note = "unsure", "the two differ by more than half of the squared norm"
    evidence = Evidence(
        *(grade, whole.cosine, whole.donor.name, runner_up, rival),
        distance=far,
        note=note,
    )
    return Match(Read(whole.donor.name) if evidence.found else None, evidence, strange)


# ---------------------------------------------------------------- parts of matrices


def _composed(target: Sketch, layout: Layout, donors: dict[str, Sketch], noise: Noise) -> Match:
    """The match that a layout gives, judged on all rows."""
    value = layout.value({name: sketch.rows for name, sketch in donors.items()})
    similarity = cosine(target.rows, value)
    grade = noise.grade(similarity, layout.numbers, [] if layout.runner_up is None else [layout.runner_up])
    if grade == "sure" and similarity < KINDRED:  # some blocks, each judged by few numbers, may be misplaced
        grade = "unsure"
    evidence = Evidence(
        grade,
        *(similarity, " + ".join(layout.sources), layout.runner_up, layout.rival),
        distance=distance(target.rows, value),
    )
    shapes = {name: sketch.shape for name, sketch in donors.items()}
    return Match(layout.expression(shapes) if evidence.found else None, evidence)


def _beginning(target: Sketch, donors: Sequence[Sketch], rows: RowMap, noise: Noise) -> Match | None:
    """The donor matrix of another length whose rows, from the first on or by token, are the target's.

    What is no table of tokens may be fused of several, of which a donor's is the first: that only counts
    for most of the rows, and where blocks would have found the other parts.
    """
    tried: list[tuple[float, Match]] = []
    for donor in donors:
        common = min(len(target.rows), len(donor.rows))
        if len(donor.rows) == len(target.rows) or common < LEAST_COMMON * len(target.rows):
            continue
        prefix = (*range(common), *[-1] * (len(target.rows) - common))
        for aligned in (prefix, rows(len(target.rows), len(donor.rows))):
            if aligned is not None:
                tried.append(_aligned(target, donor, aligned, noise))
    if not tried:
        return None
    tried.sort(key=lambda item: -item[0])
    return tried[0][1]


def _aligned(target: Sketch, donor: Sketch, rows: tuple[int, ...], noise: Noise) -> tuple[float, Match]:
    """(the part of the target that is explained, the match) when donor rows stand where `rows` says."""
    index = torch.tensor(rows)
    mine, theirs = target.rows[index >= 0], donor.rows[index[index >= 0]]
    similarity = cosine(mine, theirs)
    grade = noise.grade(similarity, mine.numel())
    if grade == "sure" and (similarity < KINDRED or strange_parts(mine, theirs) > STRANGE_PARTS):
        grade = "unsure"
    count = len(target.rows)
    evidence = Evidence(
        *(grade, similarity, donor.name),
        distance=distance(mine, theirs),
        note=f"{len(mine)} of {count} rows, of the donor's {len(donor.rows)}",
    )
    expression: Expression = Tokens(Read(donor.name), rows)
    if rows == tuple(range(count)):
        expression = Slice(Read(donor.name), 0, 0, count)
    explained = float((mine * theirs).sum()) / max(float(theirs.norm()), 1e-30)
    return explained, Match(expression if evidence.found else None, evidence)


def _composed_vector(
    target: Sketch, donor: SketchedModel, layouts: Sequence[Layout], noise: Noise
) -> Match | None:
    composed = composition(target, donor, layouts, noise)
    if composed is None:
        return None
    return Match(composed.expression if composed.evidence.found else None, composed.evidence)
