"""Whole tensors of one shape: which of a donor each of the target resembles most, and how surely.

Works on sketches. Parts of tensors are the business of `blocks`, places in a layer of `places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adamms.mapping.content.noise import (
    Noise,
    centred,
    distance,
    normalised,
    strange_parts,
    variance_beyond_chance,
)
from adamms.mapping.content.sketch import Sketch, random_signs
from adamms.mapping.expression import Expression
from adamms.mapping.finding import Finding
from adamms.system.on_demand import torch

# A whole match may have this share of parts that do not resemble (rows of tokens that one model retrained).
STRANGE_PARTS = 0.1
# Two projectors into one language model learn output biases that resemble, without an ancestor. Their
# difference has more than half of the squared norm; that of fine-tuned copies has less.
FAR_VECTOR = 0.5**0.5
# Targets compared at a time, so that the table of cosines stays small for thousands of experts.
TARGETS_AT_ONCE = 256
# A tensor is compared by so many numbers at the most: chance stays far below the least cosine that counts.
DIGEST = 1 << 12


@dataclass(frozen=True)
class Match:
    """What a target tensor corresponds to, and the finding; merged only where the finding is found.

    Args:
        candidate: what came closest.
        finding: how surely.
        strange: the share of a matrix's parts that do not resemble as the others do.
        order: in which other order the donor holds its rows; "" where in the target's.
    """

    candidate: Expression | None
    finding: Finding
    strange: float = 0.0
    order: str = ""

    @property
    def expression(self) -> Expression | None:
        """What is merged; None for nothing."""
        return self.candidate if self.finding.found else None


@dataclass(frozen=True)
class Whole:
    """The best whole donor tensor for one target tensor of the same shape.

    Args:
        cosine, donor: the best.
        others: cosine and name of the next best, up to two.
        contested: the highest cosine that any target tensor has with that donor tensor.
    """

    cosine: float
    donor: Sketch
    others: tuple[tuple[float, str], ...]
    contested: float


@dataclass(frozen=True)
class Compared:
    """All tensors of two models against each other, shape by shape.

    Args:
        best: target name -> the best donor; missing where no donor has its shape.
        excess: what the cosines of pairs that are no match say beyond chance.
        pairs: how many were compared.
    """

    best: dict[str, Whole]
    excess: list[torch.Tensor]
    pairs: int


def compare(targets: Sequence[Sketch], donors: Sequence[Sketch]) -> Compared:
    best: dict[str, Whole] = {}
    excess: list[torch.Tensor] = []
    pairs = 0
    for shape in dict.fromkeys(sketch.shape for sketch in targets):
        mine = [sketch for sketch in targets if sketch.shape == shape]
        theirs = [sketch for sketch in donors if sketch.shape == shape]
        if not theirs:
            continue
        several = [_stack(mine[i : i + TARGETS_AT_ONCE]) for i in range(0, len(mine), TARGETS_AT_ONCE)]
        stacked = _stack(theirs)
        table = torch.cat([rows @ stacked.T for rows in several])  # (targets, donors)
        pairs += table.numel()
        contested = table.amax(0)
        unmatched = (table < table.amax(1, keepdim=True)) & (table < contested)
        excess.append(variance_beyond_chance(table[unmatched], stacked.shape[1]))
        top = table.topk(min(3, len(theirs)), 1)
        for sketch, values, places in zip(mine, top.values.tolist(), top.indices.tolist(), strict=True):
            others = tuple((value, theirs[i].name) for value, i in zip(values, places, strict=True))
            best[sketch.name] = Whole(values[0], theirs[places[0]], others[1:], float(contested[places[0]]))
    return Compared(best, excess, pairs)


def _stack(sketches: Sequence[Sketch]) -> torch.Tensor:
    """(tensors, numbers) at norm 1; vectors around their mean, as norm weights are all near a common one."""
    rows = [centred(sketch.rows) if sketch.vector else sketch.rows for sketch in sketches]
    return normalised(torch.stack([_digest(row.flatten()) for row in rows]))


def _digest(values: torch.Tensor) -> torch.Tensor:
    """A sketch of a sketch (n,) in at most `DIGEST` numbers."""
    if len(values) <= DIGEST:
        return values
    signed = values * random_signs(len(values))
    return torch.nn.functional.pad(signed, (0, -len(signed) % DIGEST)).view(-1, DIGEST).sum(0)


def judge(target: Sketch, whole: Whole, noise: Noise) -> Match:
    """The match that the best whole tensor gives."""
    if target.vector and float(centred(target.rows).abs().max()) == 0:
        return Match(None, Finding("none", 0.0, note="its values are all equal: nothing to compare"))
    numbers, others = min(target.rows.numel(), DIGEST), [value for value, _ in whole.others]
    grade = noise.grade(whole.cosine, numbers, others, whole.contested)
    far = distance(target.rows, whole.donor.rows)
    note, strange = "", 0.0
    if grade in ("sure", "tied"):
        strange = 0.0 if target.vector else strange_parts(target.rows, whole.donor.rows)
        if strange > STRANGE_PARTS:
            grade, note = "unsure", f"{strange:.0%} of its rows resemble other rows or none"
        if target.vector and far > FAR_VECTOR:
            grade, note = "unsure", "the two differ by more than half of the squared norm"
    runner_up, rival = whole.others[0] if whole.others else (None, "")
    finding = Finding(grade, whole.cosine, whole.donor.name, runner_up, rival, far, note)
    return Match(whole.donor.source, finding, strange)
