"""Finds a target matrix in parts of donor matrices: fused, sliced or regrouped rows, from sketches alone.

No layout is known beforehand, so blocks of rows are compared, from large to small. Knows nothing of files,
plans or reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from adamms.mapping.content.noise import Noise, cosine, normalised, strange_parts
from adamms.mapping.content.sketch import Sketch
from adamms.mapping.expression import Expression
from adamms.mapping.simplify import Shapes, join, take
from adamms.system.on_demand import torch

# Rows of a block, tried in turn: heads have multiples of 16 dimensions, and parts whole heads.
BLOCK_ROWS = (1024, 512, 256, 128, 64, 32, 16)
# A block size is tried on this many blocks of the target first, and dropped if fewer than half are found.
PROBES = 8
# Targets that are tried together.
TARGETS_AT_ONCE = 32


@dataclass(frozen=True)
class Segment:
    """Rows `start:stop` of the donor's tensor `name`, in the target's order."""

    name: str
    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Composition:
    """The parts of donor matrices that a target matrix is made of.

    Args:
        segments: in the target's order, all rows of the target.
        runner_up: the cosine of what the next best donor tensors would give, for the worst of the sources.
        rival: the name of that next best.
        numbers: how many sketch numbers the least of the sources was judged by.
    """

    segments: tuple[Segment, ...]
    runner_up: float | None
    rival: str
    numbers: int

    @property
    def sources(self) -> tuple[str, ...]:
        """The donor tensors, in the order in which they first appear."""
        return tuple(dict.fromkeys(segment.name for segment in self.segments))

    @property
    def rows(self) -> int:
        return sum(segment.length for segment in self.segments)

    def value(self, donors: Mapping[str, Sketch]) -> torch.Tensor:
        """The sketch (R, k) of the composition, from the donors' sketches by name."""
        return torch.cat([donors[s.name].rows[s.start : s.stop] for s in self.segments])

    def expression(self, donors: Mapping[str, Sketch], shape: Shapes) -> Expression:
        """The same of whole tensors, from the donors' sketches by name and the shapes of their tensors."""
        return join([take(donors[s.name].source, 0, s.start, s.stop, shape) for s in self.segments], 0, shape)

    @property
    def order(self) -> str:
        """In which other order one tensor holds the rows; "" of several, or where it is the same."""
        if len(self.sources) > 1 or len(self.segments) == 1:
            return ""
        size = gcd(*(edge for s in self.segments for edge in (s.start, s.stop)))
        places = [row // size for s in self.segments for row in range(s.start, s.stop, size)]
        if len(places) == 2:
            return "its two halves exchanged"
        for parts in (n for n in range(2, len(places)) if len(places) % n == 0):
            if places == torch.arange(len(places)).view(-1, parts).T.flatten().tolist():
                have, want = "head by head", "one after the other"
                if parts > len(places) // parts:
                    have, want = want, have
                return f"parts of {size} rows {have}, where the target has them {want}"
        return f"pieces of {size} rows in another order"


def find_compositions(
    targets: Sequence[Sketch], donors: Sequence[Sketch], noise: Noise
) -> dict[str, Composition]:
    """Target name -> what it is made of, for those of `targets` of which every block is found.

    A block that is too large may straddle two parts and still resemble one of them. Smaller ones are
    therefore tried until all rows agree; of what was found by then the composition of the highest cosine is
    taken.

    Args:
        targets, donors: sketches of matrices whose rows have one shape.
        noise: of the two models.
    """
    found: dict[str, Composition] = {}
    settled: set[str] = set()
    by_name = {donor.name: donor for donor in donors}
    for size in BLOCK_ROWS:
        left = [t for t in targets if t.name not in settled and len(t.rows) % size == 0]
        pool = [donor for donor in donors if len(donor.rows) >= size]
        if not left or not pool:
            continue
        index = _Index(pool, size, torch.cat([_blocks(donor, size) for donor in pool]))
        for target in index.promising(left, noise):
            located = index.locate(target, noise)
            if located is None:
                continue
            value = located.value(by_name)
            best = found.setdefault(target.name, located)
            if cosine(target.rows, value) > cosine(target.rows, best.value(by_name)) + 1e-6:
                found[target.name] = located
            if strange_parts(target.rows, value) == 0:
                settled.add(target.name)
    return found


@dataclass(frozen=True)
class _Index:
    """Blocks of `size` rows of all donors, one donor after the other, (N, size * k) at norm 1."""

    donors: Sequence[Sketch]
    size: int
    blocks: torch.Tensor

    @property
    def counts(self) -> list[int]:
        """How many blocks each donor has."""
        return [len(donor.rows) // self.size for donor in self.donors]

    def promising(self, targets: Sequence[Sketch], noise: Noise) -> Iterator[Sketch]:
        """Those of `targets` of which at least half of the first blocks looked at are found."""
        least = noise.threshold(self.blocks.shape[1])
        for start in range(0, len(targets), TARGETS_AT_ONCE):
            some = targets[start : start + TARGETS_AT_ONCE]
            probes = [self._probes(target) for target in some]
            peaks = (torch.cat(probes) @ self.blocks.T).amax(1).split([len(part) for part in probes])
            found = zip(some, peaks, strict=True)
            yield from (target for target, peak in found if (peak > least).float().mean() >= 0.5)

    def _probes(self, target: Sketch) -> torch.Tensor:
        blocks = _blocks(target, self.size)
        return blocks[torch.linspace(0, len(blocks) - 1, min(PROBES, len(blocks))).long()]

    def locate(self, target: Sketch, noise: Noise) -> Composition | None:
        """The composition of `target` in blocks of this size; None unless every block is found."""
        blocks = _blocks(target, self.size)  # (n, size * k)
        least = noise.threshold(blocks.shape[1])
        best = torch.cat([self._best(part) for part in blocks.split(PROBES)], 1)  # (donors, n)
        chosen = _cover(best, least)
        return None if bool((chosen < 0).any()) else self._composition(blocks, chosen, best)

    def _best(self, blocks: torch.Tensor) -> torch.Tensor:
        """(donors, n): the highest cosine that any block of each donor has with each of `blocks`."""
        owners = torch.arange(len(self.donors)).repeat_interleave(torch.tensor(self.counts))
        least = torch.full((len(blocks), len(self.donors)), -2.0)
        table = blocks @ self.blocks.T  # (n, N)
        return least.scatter_reduce(1, owners.expand(len(blocks), -1), table, "amax").T

    def _composition(self, blocks: torch.Tensor, chosen: torch.Tensor, best: torch.Tensor) -> Composition:
        positions = torch.empty_like(chosen)
        parts = self.blocks.split(self.counts)
        for donor in chosen.unique().tolist():
            positions[chosen == donor] = (blocks[chosen == donor] @ parts[donor].T).argmax(1)
        segments: list[Segment] = []
        for donor, position in zip(chosen.tolist(), positions.tolist(), strict=True):
            name, start = self.donors[donor].name, position * self.size
            if segments and (segments[-1].name, segments[-1].stop) == (name, start):
                start = segments.pop().start
            segments.append(Segment(name, start, (position + 1) * self.size))
        runner_up, rival = self._runner_up(chosen, best)
        fewest = int(chosen.unique(return_counts=True)[1].min()) * self.blocks.shape[1]
        return Composition(tuple(segments), runner_up, rival, fewest)

    def _runner_up(self, chosen: torch.Tensor, best: torch.Tensor) -> tuple[float | None, str]:
        """The best that other donor tensors have for the blocks of one source; the highest of all sources."""
        worst: tuple[float | None, str] = (None, "")
        for donor in chosen.unique().tolist():
            means = best[:, chosen == donor].mean(1)  # (donors,)
            means[donor] = -2.0
            value, other = means.max(0)
            if float(value) >= -1 and (worst[0] is None or float(value) > worst[0]):
                worst = (float(value), self.donors[int(other)].name)
        return worst


def _blocks(sketch: Sketch, size: int) -> torch.Tensor:
    count = len(sketch.rows) // size
    return normalised(sketch.rows[: count * size].reshape(count, -1))


def _cover(best: torch.Tensor, least: float) -> torch.Tensor:
    """For each block the donor that it comes from, -1 if from none.

    Of donors that a block resembles about equally (duplicated experts), the one that explains most of
    the target is taken, so that one tensor is not pieced together from copies.

    Args:
        best: (donors, blocks), each donor's highest cosine with each block.
        least: the cosine below which it is chance.
    """
    peak = best.amax(0)
    near = (best > least) & (1 - best <= 2 * (1 - peak) + 1e-6)
    chosen = torch.full((best.shape[1],), -1)
    while True:
        open_blocks = near & (chosen < 0)
        total, donor = (best * open_blocks).sum(1).max(0)
        if float(total) <= 0:
            return chosen
        chosen[open_blocks[int(donor)]] = int(donor)
