"""Which layer of a donor each layer of the target is, by the matrices found; and what else lies in them.

Norms, and whatever has few values, are much alike: the layer tells which are meant, and all layers together
what each is in a layer. Names say which tensors lie in one layer, and decide only where values do not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from adamms.mapping.content.noise import Noise, centred, closer, cosine, distance
from adamms.mapping.content.orders import RowOrder
from adamms.mapping.content.sketch import Sketch
from adamms.mapping.content.whole import FAR_VECTOR, Match
from adamms.mapping.expression import Expression, names_in
from adamms.mapping.finding import Finding
from adamms.mapping.names import PLACE
from adamms.system.on_demand import torch

# Beside the layers of a stack: what is named like it, but lies in no layer.
BESIDE = "*"


def place_of(name: str) -> tuple[str, str]:
    """(layer, name within it): ("model.layers.3", "mlp.up.weight"); ("", name) of what lies in none."""
    place = PLACE.match(name)
    return ("", name) if place is None else (f"{place['stack']}{place['layer']}", place["local"])


@dataclass(frozen=True)
class Layers:
    """The donor's layer for each of the target's.

    >>> layers = Layers.of([("model.text.layers.0.up", "h.1.up"), ("model.text.layers.0.down", "h.1.down")])
    >>> layers.donors
    {'model.text.layers.0': 'h.1'}
    >>> layers.target_place("model.text.norm.weight"), layers.donor_place("ln_f.weight")
    (('*', 'norm.weight'), ('*', 'ln_f.weight'))

    Args:
        donors: layer of the target -> layer of the donor.
        beside: what the names begin with that go with the layers, of the target and of the donor; None where
            no layer is known.
    """

    donors: Mapping[str, str]
    beside: tuple[str, str] | None

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Layers:
        """From the names of tensors that correspond, of the target and of the donor."""
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        stacks: Counter[tuple[str, str]] = Counter()
        for mine, theirs in pairs:
            layer, other = place_of(mine)[0], place_of(theirs)[0]
            if layer and other:
                votes[layer][other] += 1
                stacks[_beside(layer), _beside(other)] += 1
        donors = {layer: found.most_common(1)[0][0] for layer, found in votes.items()}
        return cls(donors, stacks.most_common(1)[0][0] if stacks else None)

    def donor_of(self, name: str) -> str | None:
        """The donor's layer of a target tensor; None where it is not known."""
        return self.donors.get(place_of(name)[0])

    def known_donor(self, name: str) -> str:
        """The layer of a donor's tensor; "" where it is none of the known ones."""
        layer = place_of(name)[0]
        return layer if layer in self._known else ""

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.donors.values())

    def target_place(self, name: str) -> tuple[str, str]:
        return _place(name, None if self.beside is None else self.beside[0])

    def donor_place(self, name: str) -> tuple[str, str]:
        return _place(name, None if self.beside is None else self.beside[1])


def _beside(layer: str) -> str:
    """`model.text.` of `model.text.layers.3`."""
    return "".join(part + "." for part in layer.split(".")[:-2])


def _place(name: str, beside: str | None) -> tuple[str, str]:
    layer, local = place_of(name)
    if beside is not None and not layer and name.startswith(beside):
        return BESIDE, name.removeprefix(beside)
    return layer, local


@dataclass(frozen=True)
class _Candidate:
    """What one kind of the target's tensors may be in the donor's layers.

    Args:
        local: its name within the layer.
        expressions: target tensor -> the donor's.
        rows: target tensor -> the sketch of it.
        cosine, distance: over all layers.
    """

    local: str
    expressions: Mapping[str, Expression]
    rows: Mapping[str, torch.Tensor]
    cosine: float
    distance: float
    order: RowOrder | None


def match_in_layers(
    targets: Sequence[Sketch],
    donors: Sequence[Sketch],
    layers: Layers,
    orders: Sequence[RowOrder],
    noise: Noise,
) -> dict[str, Match]:
    """Matches of those of `targets` that lie in a layer of which the donor's is known, or beside them.

    All layers decide together: what is one name within a layer goes to one name within the donor's.

    Args:
        targets: vectors, and matrices that are not found otherwise.
        donors: all of the donor's.
        layers: which layer is which.
        orders: in which the donor's rows lie elsewhere in these layers.
        noise: of the two models.
    """
    kinds: dict[tuple[str, tuple[int, ...]], dict[str, Sketch]] = defaultdict(dict)
    for sketch in targets:
        layer, local = layers.target_place(sketch.name)
        if layer in layers.donors or layer == BESIDE:
            kinds[local, sketch.shape][layer] = sketch
    there: dict[tuple[str, tuple[int, ...]], dict[str, Sketch]] = defaultdict(dict)
    for sketch in donors:
        layer, local = layers.donor_place(sketch.name)
        there[local, sketch.shape][layer] = sketch
    tables = {kind: _candidates(mine, kind[1], there, layers, orders) for kind, mine in kinds.items()}
    contested: dict[str, float] = defaultdict(lambda: -1.0)
    for candidates in tables.values():
        for candidate in candidates:
            contested[candidate.local] = max(contested[candidate.local], candidate.cosine)
    found: dict[str, Match] = {}
    for (local, _), mine in kinds.items():
        candidates = tables[local, next(iter(mine.values())).shape]
        if candidates:
            found |= _judged(local, list(mine.values()), candidates, contested, noise)
    return found


def _candidates(
    mine: Mapping[str, Sketch],
    shape: tuple[int, ...],
    there: Mapping[tuple[str, tuple[int, ...]], Mapping[str, Sketch]],
    layers: Layers,
    orders: Sequence[RowOrder],
) -> list[_Candidate]:
    """All of the same shape in the donor's layers, as it lies and in other orders; the closest first."""
    found = []
    for (local, other), theirs in there.items():
        pairs = [
            (sketch, theirs[donor])
            for layer, sketch in mine.items()
            if (donor := layers.donors.get(layer, layer)) in theirs
        ]
        if other == shape and pairs:
            found += [
                _candidate(local, pairs, order)
                for order in (None, *orders)
                if order is None or shape[0] % order.size == 0
            ]
    return sorted(found, key=lambda candidate: (-candidate.cosine, candidate.distance))


def _candidate(local: str, pairs: Sequence[tuple[Sketch, Sketch]], order: RowOrder | None) -> _Candidate:
    rows = {a.name: b.rows if order is None else order.applied(b.rows) for a, b in pairs}
    whole = torch.cat([a.rows.flatten() for a, _ in pairs]), torch.cat([r.flatten() for r in rows.values()])
    around = (
        torch.cat([_around(sketch, sketch.rows) for sketch, _ in pairs]),
        torch.cat([_around(sketch, rows[sketch.name]) for sketch, _ in pairs]),
    )
    expressions = {a.name: b.source if order is None else order.expression(b.source) for a, b in pairs}
    return _Candidate(local, expressions, rows, cosine(*around), distance(*whole), order)


def _around(target: Sketch, rows: torch.Tensor) -> torch.Tensor:
    return (centred(rows) if target.vector else rows).flatten()


def _judged(
    local: str,
    mine: Sequence[Sketch],
    candidates: Sequence[_Candidate],
    contested: Mapping[str, float],
    noise: Noise,
) -> dict[str, Match]:
    """The match of each of one kind of tensors."""
    best, *others = candidates
    numbers = sum(sketch.rows.numel() for sketch in mine)
    grade = noise.grade(best.cosine, numbers, [o.cosine for o in others[:2]], contested[best.local])
    note = ""
    same = next((one for one in candidates if one.local == local), None)
    near = same is not None and same.distance <= FAR_VECTOR and not closer(best.cosine, same.cosine)
    if grade != "sure" and same is not None and near:
        best, grade, note = same, "sure", "by its name within the layer"
    if grade in ("sure", "tied") and best.distance > FAR_VECTOR:
        grade, note = "unsure", "the two differ by more than half of the squared norm"
    runner_up = next((one for one in candidates if one is not best), None)
    found = {}
    for sketch in mine:
        if sketch.name not in best.expressions:
            continue
        rows = best.rows[sketch.name]
        finding = Finding(
            grade,
            1.0
            if torch.equal(sketch.rows, rows)
            else cosine(_around(sketch, sketch.rows), _around(sketch, rows)),
            next(iter(names_in(best.expressions[sketch.name]))),
            None if runner_up is None else runner_up.cosine,
            "" if runner_up is None else runner_up.local,
            distance(sketch.rows, rows),
            note,
        )
        order = "" if best.order is None else str(best.order)
        found[sketch.name] = Match(best.expressions[sketch.name], finding, order=order)
    return found
