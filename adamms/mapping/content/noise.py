"""What a cosine between two sketches is worth: noise, thresholds, and the grade of a match.

Pure statistics on tensors in memory; knows nothing of names, files or plans.

Noise. Cosines of unrelated tensors lie around 0. Their variance is 1 / (numbers compared), plus what all
weights have in common (outlier columns, a mean), which is measured on the pairs that are no match.

Threshold. A cosine counts when chance would exceed it `FALSE_MATCHES` times in all comparisons of the two
models together (a Bonferroni bound on the normal tail), and never below `LEAST_COSINE`. Models of one
ancestor are far above: fine-tuned language models at 0.9 and more.

Grade. A match is clear when every other tensor is no more than noise, or at least at twice the squared
distance. Of unclear matches the closest is taken where they must be copies of one tensor, from `KINDRED` on.
Matrices of different layers are never so alike. Norms and biases are, each like many others (up to 0.94 in a
real encoder), so of vectors only two may be alike, or they must be nearly equal. Where a tensor's counterpart
is missing, another layer's comes closest, but its own target resembles that one more: a doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from adamms.system.on_demand import torch

# A tensor, or an array of NumPy; both of an operation are of one kind.
Values: TypeAlias = Any
FALSE_MATCHES = 1e-3
LEAST_COSINE = 0.2
KINDRED, KINDRED_VECTORS = 0.5, 0.98
# The median of |x| of a standard normal variable.
NORMAL_MEDIAN = 0.6745
# A matrix is judged in parts of so many rows too: no head is smaller.
PART_ROWS = 16


@dataclass(frozen=True)
class Noise:
    """How large cosines get by chance.

    Args:
        comparisons: how many pairs of the two models are compared in all.
        common: the deviation of unrelated pairs however many numbers are compared.
        kindred: the cosine from which on several matches are copies of one tensor, and not doubts.
    """

    comparisons: int
    common: float = 0.0
    kindred: float = KINDRED

    def deviation(self, numbers: int) -> float:
        """Of the cosine of two unrelated sketches of `numbers` numbers."""
        return math.sqrt(1 / max(1, numbers) + self.common**2)

    def threshold(self, numbers: int) -> float:
        """The cosine above which two sketches of `numbers` numbers are not unrelated."""
        quantile = -NormalDist().inv_cdf(FALSE_MATCHES / max(1, self.comparisons))
        return max(LEAST_COSINE, quantile * self.deviation(numbers))

    def grade(
        self, cosine: float, numbers: int, others: Sequence[float] = (), contested: float = -1.0
    ) -> str:
        """How sure a match is.

        Args:
            cosine: of the best candidate.
            numbers: that were compared.
            others: cosines of the next best two candidates, or of as many as there are.
            contested: the highest cosine that the candidate has with any target tensor.
        """
        least = self.threshold(numbers)
        if not cosine > least:
            return "none"
        clear = not others or self._apart(cosine, others[0], numbers)
        if clear and (cosine >= self.kindred or not closer(contested, cosine)):
            return "sure"
        two = len(others) > 1 and self._apart(others[0], others[1], numbers)
        copies = cosine >= (KINDRED if two else self.kindred)
        return "tied" if copies and not clear else "unsure"

    def _apart(self, cosine: float, other: float, numbers: int) -> bool:
        """Whether the other is noise, or much farther."""
        noise = other <= self.threshold(numbers) and cosine - other > 3 * self.deviation(numbers)
        return noise or closer(cosine, other)


def closer(cosine: float, other: float) -> bool:
    """Whether the first lies at most at half the squared distance of the second."""
    return 2 * (1 - cosine) <= 1 - other


def measure_noise(excess: Sequence[torch.Tensor], comparisons: int) -> Noise:
    """The noise of the matrices of two models.

    Args:
        excess: `variance_beyond_chance` of the pairs that are no match.
        comparisons: how many pairs are compared in all.
    """
    values = torch.cat(list(excess)) if excess else torch.empty(0)
    return Noise(comparisons, math.sqrt(max(0.0, float(values.median()))) if len(values) else 0.0)


def variance_beyond_chance(cosines: torch.Tensor, numbers: int) -> torch.Tensor:
    """For each pair what its squared cosine, were it the median one, says beyond 1 / numbers."""
    return (cosines / NORMAL_MEDIAN) ** 2 - 1 / numbers


def normalised(rows: torch.Tensor) -> torch.Tensor:
    """Vectors (..., n) at norm 1; zeros stay zeros."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-30)


def centred(values: torch.Tensor) -> torch.Tensor:
    """The values around their mean."""
    return values - values.mean()


def norm(values: Values) -> float:
    """Of a tensor or an array as a vector."""
    return float(np.linalg.norm(values) if isinstance(values, np.ndarray) else values.norm())


def cosine(a: Values, b: Values) -> float:
    """Of two tensors, or two arrays, of one shape as vectors; 0 if one of them is zero."""
    scale = norm(a) * norm(b)
    return float((a * b).sum()) / scale if scale else 0.0


def distance(target: Values, other: Values) -> float:
    """The norm of the difference over the target's."""
    return norm(target - other) / max(norm(target), 1e-30)


def strange_parts(target: torch.Tensor, other: torch.Tensor) -> float:
    """The share of parts (runs of 16 rows) that do not resemble as the others do; of (R, k) sketches.

    Where heads are in another order, or one tensor holds two, some rows agree and others do not.
    """
    products, mine, theirs = (
        _sums((a * b).sum(1)) for a, b in ((target, other), (target, target), (other, other))
    )
    found = products / (mine * theirs).sqrt().clamp(min=1e-30)
    found[(mine == 0) & (theirs == 0)] = 1.0
    usual = found.sort().values[int(0.9 * (len(found) - 1))]  # more than half of the rows may be wrong
    return float((found < usual / 2).float().mean())


def _sums(values: torch.Tensor) -> torch.Tensor:
    """Sums over runs of `PART_ROWS` values; the last run may be shorter."""
    padding = -len(values) % PART_ROWS
    return torch.nn.functional.pad(values, (0, padding)).view(-1, PART_ROWS).sum(1)
