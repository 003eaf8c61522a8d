"""Which tensor of one model, or which parts, each tensor of another corresponds to: by content.

Works on two sets of sketches in memory; only matrices that may lie transposed are read again. Names say which
tensors lie in one layer, and decide where values cannot.

Matrices come first: whole ones of one shape, then compositions of blocks of rows, then transposed ones, then
rows in another order, then a common beginning (embeddings of other lengths). What lies in a layer of which
the donor's is known by then is looked for there. Vectors (norms, biases) and what else has few values follow:
by their place in the layers, or by their values around their mean. A vector that is not found so is looked
for in the compositions of the matrices, because a bias lies as its weight does.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adamms.mapping.content.blocks import Composition, find_compositions
from adamms.mapping.content.noise import KINDRED, KINDRED_VECTORS, Noise, cosine, distance, measure_noise
from adamms.mapping.content.orders import ONE_BY_ONE, RowOrder, rotary_orders, same_rows
from adamms.mapping.content.places import Layers, match_in_layers
from adamms.mapping.content.rows import RowMap, beginning
from adamms.mapping.content.sketch import Sketch, SketchedModel
from adamms.mapping.content.vectors import composed_vector
from adamms.mapping.content.whole import Match, compare, judge
from adamms.mapping.expression import Shape, names_in
from adamms.mapping.finding import GRADES, Finding
from adamms.mapping.simplify import join, take, transpose

# Matrices with more rows are taken for tables of tokens first, whose parts are no heads.
TALL = 1 << 15
# By so much a composition must be closer than a whole tensor with strange parts.
STRANGE_GAIN = 1e-3
# Pairs of matrices that are searched for parts of each other where no layer is known.
PAIRS = 1 << 20
# Rows that are looked for one by one: those of a router, which follow its experts.
FEW_ROWS = 1 << 10

NONE = Match(None, Finding("none", 0.0, note="no tensor of its shape"))


def match_models(target: SketchedModel, donor: SketchedModel, rows: RowMap) -> dict[str, Match]:
    """Sketch of the target -> match, for all of them."""
    matching = _Matching(target, donor, rows)
    matching.whole()
    for width in dict.fromkeys(sketch.shape[1:] for sketch in target.matrices):
        matching.composed([sketch for sketch in target.matrices if sketch.shape[1:] == width])
    matching.transposed()
    matching.reordered()
    matching.beginnings()
    matching.vectors()
    return matching.found


@dataclass
class _Matching:
    """Two models and what was found so far, by the names of the target's sketches."""

    target: SketchedModel
    donor: SketchedModel
    rows: RowMap
    noise: Noise = field(default_factory=lambda: Noise(1))
    found: dict[str, Match] = field(default_factory=dict)
    compositions: list[Composition] = field(default_factory=list)
    orders: list[RowOrder] = field(default_factory=list)

    def whole(self) -> None:
        mine, theirs = self.target.matrices, self.donor.matrices
        compared = compare(mine, theirs)
        self.noise = measure_noise(compared.excess, compared.pairs + _block_pairs(mine, theirs))
        for sketch in mine:
            if sketch.name in compared.best:
                self.found[sketch.name] = judge(sketch, compared.best[sketch.name], self.noise)

    def composed(self, targets: Sequence[Sketch]) -> None:
        """Parts of matrices, of one width; of tables of tokens first rows from the first on, or by token."""
        donors = [sketch for sketch in self.donor.matrices if sketch.shape[1:] == targets[0].shape[1:]]
        left = [sketch for sketch in targets if self._is_open(sketch)]
        for sketch in left:
            if len(sketch.rows) > TALL:
                self._keep(sketch, beginning(sketch, donors, self.rows, self.noise))
        left = [sketch for sketch in left if self._is_open(sketch)]
        for mine, theirs in self._by_layer(left, donors):
            self._compose(mine, theirs, self.donor.sketches)
        layers = self._layers()
        left = [sketch for sketch in left if self._is_open(sketch) and not layers.donor_of(sketch.name)]
        if len(left) * len(donors) <= PAIRS:
            self._compose(left, donors, self.donor.sketches)

    def _compose(
        self, targets: Sequence[Sketch], donors: Sequence[Sketch], by_name: Mapping[str, Sketch]
    ) -> None:
        mine = {sketch.name: sketch for sketch in targets}
        for name, composition in find_compositions(targets, donors, self.noise).items():
            composed = self._composed(mine[name], composition, by_name)
            whole = self.found.get(name)
            beaten = whole is None or whole.finding.cosine + STRANGE_GAIN < composed.finding.cosine
            if composed.finding.found and beaten:
                self.found[name] = composed
                self.compositions.append(composition)

    def _composed(self, target: Sketch, composition: Composition, donors: Mapping[str, Sketch]) -> Match:
        """The match that a composition gives, judged on all rows."""
        value = composition.value(donors)
        similarity = cosine(target.rows, value)
        others = [] if composition.runner_up is None else [composition.runner_up]
        grade = self.noise.grade(similarity, composition.numbers, others)
        if grade == "sure" and similarity < KINDRED:  # blocks, each judged by few numbers, may be misplaced
            grade = "unsure"
        finding = Finding(
            grade,
            similarity,
            " + ".join(composition.sources),
            composition.runner_up,
            composition.rival,
            distance(target.rows, value),
            composition.order,
        )
        return Match(composition.expression(donors, self.donor.shape), finding, order=composition.order)

    def transposed(self) -> None:
        """Matrices that one of the models stores transposed, as stacked experts are; a layer at a time."""
        spare = [sketch for sketch in self.donor.matrices if len(sketch.shape) == 2]
        read = {
            name for match in self.found.values() if match.expression for name in names_in(match.expression)
        }
        spare = [sketch for sketch in spare if next(names_in(sketch.source)) not in read]
        left = [
            sketch for sketch in self.target.matrices if len(sketch.shape) == 2 and not self._settled(sketch)
        ]
        for mine, theirs in self._by_layer(left, spare):
            widths = {sketch.shape[1] for sketch in mine}
            turned = self.donor.transposed([sketch for sketch in theirs if sketch.shape[0] in widths])
            self._look(mine, turned)
            mine = [sketch for sketch in mine if not self._settled(sketch)]
            widths = {sketch.shape[1] for sketch in theirs}
            back = self.target.transposed([sketch for sketch in mine if sketch.shape[0] in widths])
            self._look(back, theirs)
            for sketch in back:
                match = self.found.get(sketch.name)
                if match is not None and match.expression is not None:
                    self.found[sketch.name] = replace(match, candidate=transpose(match.expression))

    def _look(self, targets: Sequence[Sketch], donors: Sequence[Sketch]) -> None:
        """Whole ones among these few, then parts of them."""
        for name, best in compare(targets, donors).best.items():
            (sketch,) = (target for target in targets if target.name == name)
            self._keep(sketch, judge(sketch, best, self.noise))
        by_name = {donor.name: donor for donor in donors}
        for width in dict.fromkeys(sketch.shape[1:] for sketch in targets):
            left = [sketch for sketch in targets if sketch.shape[1:] == width and not self._settled(sketch)]
            self._compose(left, [donor for donor in donors if donor.shape[1:] == width], by_name)

    def reordered(self) -> None:
        """Rows that a donor holds in the order of another rotary embedding, or of other experts."""
        left = [sketch for sketch in self.target.matrices if not self._settled(sketch)]
        for mine, theirs in self._by_layer(left, self.donor.matrices):
            for sketch in mine:
                same = [donor for donor in theirs if donor.shape == sketch.shape]
                if len(sketch.rows) > TALL or not same:
                    continue
                self._turned(sketch, same)
                if not self._settled(sketch) and len(sketch.rows) <= FEW_ROWS:
                    self._one_by_one(sketch, same)

    def _turned(self, target: Sketch, donors: Sequence[Sketch]) -> None:
        for order in rotary_orders(len(target.rows)):
            turned = [
                Sketch(d.name, d.shape, order.applied(d.rows), order.expression(d.source)) for d in donors
            ]
            match = judge(target, compare([target], turned).best[target.name], self.noise)
            before = self.found.get(target.name, NONE)
            if match.finding.found and match.finding.cosine > max(KINDRED, before.finding.cosine):
                note = replace(match.finding, note=str(order))
                self.found[target.name] = Match(match.candidate, note, match.strange, str(order))
                if order not in self.orders:
                    self.orders.append(order)

    def _one_by_one(self, target: Sketch, donors: Sequence[Sketch]) -> None:
        for donor in donors:
            rows = same_rows(target.rows, donor.rows)
            if rows is None:
                continue
            value = donor.rows[list(rows)]
            similarity = cosine(target.rows, value)
            if similarity > max(ONE_BY_ONE, self.found.get(target.name, NONE).finding.cosine):
                order = (
                    "" if rows == tuple(range(len(rows))) else "rows in another order, as of other experts"
                )
                parts = [take(donor.source, 0, row, row + 1, self.donor.shape) for row in rows]
                far = distance(target.rows, value)
                finding = Finding("sure", similarity, donor.name, distance=far, note=order)
                self.found[target.name] = Match(join(parts, 0, self.donor.shape), finding, order=order)

    def beginnings(self) -> None:
        """Donor matrices of another length."""
        left = [sketch for sketch in self.target.matrices if not self._settled(sketch)]
        for mine, theirs in self._by_layer(left, self.donor.matrices, outside=True):
            for sketch in mine:
                donors = [other for other in theirs if other.shape[1:] == sketch.shape[1:]]
                self._keep(sketch, beginning(sketch, donors, self.rows, self.noise))

    def vectors(self) -> None:
        """Vectors, and matrices with too few values to be found by them alone."""
        left = [sketch for sketch in self.target.matrices if not self._settled(sketch)]
        compared = compare(self.target.vectors, self.donor.vectors)
        noise = Noise(compared.pairs, kindred=KINDRED_VECTORS)
        donors = tuple(self.donor.sketches.values())
        placed = match_in_layers((*self.target.vectors, *left), donors, self._layers(), self.orders, noise)
        for sketch in left:
            self._keep(sketch, placed.get(sketch.name))
        for sketch in self.target.vectors:
            match = placed.get(sketch.name)
            if match is None or not match.finding.found:
                best = compared.best.get(sketch.name)
                whole = None if best is None else judge(sketch, best, noise)
                match = _better(match, whole)
            self.found[sketch.name] = _closest(
                match, composed_vector(sketch, self.donor, self.compositions, noise)
            )

    def _keep(self, sketch: Sketch, match: Match | None) -> None:
        self.found[sketch.name] = _better(self.found.get(sketch.name), match)

    def _settled(self, sketch: Sketch) -> bool:
        return sketch.name in self.found and self.found[sketch.name].finding.found

    def _is_open(self, sketch: Sketch) -> bool:
        """Whether parts of donors may be closer: nothing was found, or a tensor with strange parts."""
        if not self._settled(sketch):
            return True
        return self.found[sketch.name].strange > 0 and len(sketch.rows) <= TALL

    def _layers(self) -> Layers:
        """By what was found so far."""
        return Layers.of(
            (name, source)
            for name, match in self.found.items()
            if match.expression is not None
            for source in names_in(match.expression)
        )

    def _by_layer(
        self, targets: Sequence[Sketch], donors: Sequence[Sketch], outside: bool = False
    ) -> Iterator[tuple[list[Sketch], list[Sketch]]]:
        """Those of `targets` and `donors` that may go together: layer by layer, all where none is known.

        Args:
            outside: also those that lie in no layer that is known.
        """
        layers = self._layers()
        if not layers.donors:
            yield list(targets), list(donors)
            return
        mine: dict[str, list[Sketch]] = {}
        theirs: dict[str, list[Sketch]] = {}
        for sketch in targets:
            mine.setdefault(layers.donor_of(sketch.name) or "", []).append(sketch)
        for sketch in donors:
            theirs.setdefault(layers.known_donor(sketch.name), []).append(sketch)
        for layer, sketches in mine.items():
            if layer or outside:
                yield sketches, theirs.get(layer, [])


def _better(first: Match | None, second: Match | None) -> Match:
    """The one with the better grade, else with the higher cosine."""
    both = [match for match in (first, second) if match is not None]
    both.sort(key=lambda match: (GRADES.index(match.finding.grade), -match.finding.cosine))
    return both[0] if both else NONE


def _closest(whole: Match, composed: Match | None) -> Match:
    """The closer of two readings of a vector: with its heads in another order it half resembles itself."""
    if composed is None or not whole.finding.found:
        return _better(whole, composed)
    gain = composed.finding.cosine - whole.finding.cosine
    return composed if gain > STRANGE_GAIN else whole


def _block_pairs(targets: Sequence[Sketch], donors: Sequence[Sketch]) -> int:
    """How many pairs of blocks there are at the most: of 16 rows each way, of one width."""
    blocks = Counter[Shape]()
    for sketch in donors:
        blocks[sketch.shape[1:]] += len(sketch.rows) // 16
    return sum(blocks[sketch.shape[1:]] * (len(sketch.rows) // 16) for sketch in targets)
