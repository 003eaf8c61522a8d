"""What of a difference an adapter holds, and what is left: by tensor, by layer and in all.

Plain data and its table. Norms are Frobenius norms.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from adamms.report.table import Table


@dataclass(frozen=True)
class Extracted:
    """One tensor that differs.

    >>> Extracted("lm_head.weight", "", rank=16, norm=2.0, left=0.5).share
    0.25

    Args:
        name: in the target's files.
        layer: that it lies in, e.g. "model.layers.3"; "" for none.
        rank: of what the adapter adds to it; 0 where it holds the whole tensor, or nothing.
        norm: of the difference.
        left: the norm of what the adapter leaves of the difference.
        reason: why the adapter holds nothing of it; "" if it does.
    """

    name: str
    layer: str
    rank: int
    norm: float
    left: float
    reason: str = ""

    @property
    def share(self) -> float:
        return self.left / self.norm if self.norm else 0.0


@dataclass(frozen=True)
class Extraction:
    """An adapter's part of a difference.

    Args:
        rank: of the adapter.
        tensors: all that differ, in the target's order.
    """

    rank: int
    tensors: tuple[Extracted, ...]

    @property
    def total(self) -> Extracted:
        return _sum("all", self.tensors)

    @property
    def layers(self) -> list[Extracted]:
        """The sums of the layers, and of what is in none."""
        groups: dict[str, list[Extracted]] = {}
        for each in self.tensors:
            groups.setdefault(each.layer or "outside the layers", []).append(each)
        return [_sum(name, group) for name, group in groups.items()]

    @property
    def lost(self) -> dict[str, float]:
        """Reason -> the share of the difference's squares that the adapter holds nothing of."""
        whole = self.total.norm**2 or 1.0
        found: dict[str, float] = {}
        for each in self.tensors:
            if each.reason:
                found[each.reason] = found.get(each.reason, 0.0) + each.norm**2 / whole
        return found

    def lines(self) -> Iterator[str]:
        """What there is to say of it."""
        left = f"{100 * self.total.share:.3g} % of the difference is left (Frobenius norm)"
        yield f"the adapter has rank {self.rank}; {left}"
        for reason, share in self.lost.items():
            yield f"not in the adapter: {reason}, {100 * share:.3g} % of the difference (of its squares)"


def table(found: Extraction) -> Table:
    """The error by layer."""
    return Table.of(
        "What the adapter leaves of the difference",
        [*found.layers, found.total],
        [
            ("layer", lambda each: each.name),
            ("difference", lambda each: f"{each.norm:.4g}"),
            ("left", lambda each: f"{each.left:.4g}"),
            ("left in %", lambda each: f"{100 * each.share:.3g}"),
        ],
        note="Frobenius norms; what the adapter holds nothing of counts as left",
    )


def to_json(found: Extraction) -> dict[str, Any]:
    """What extract.json holds: the sums first."""

    def row(each: Extracted) -> dict[str, Any]:
        return vars(each) | {"share_left": each.share}

    return {
        "rank": found.rank,
        "all": row(found.total),
        "not_in_the_adapter": found.lost,
        "layers": [row(each) for each in found.layers],
        "tensors": [row(each) for each in found.tensors],
    }


def _sum(name: str, tensors: Iterable[Extracted]) -> Extracted:
    held = list(tensors)
    norm, left = (
        math.sqrt(sum(values)) for values in zip(*((e.norm**2, e.left**2) for e in held), strict=True)
    )
    return Extracted(name, name, max(each.rank for each in held), norm, left)
