"""Model Stock: the models' mean, drawn back to the ancestor by how much they disagree, tensor by tensor.

    theta = t * sum_m w_m theta_m + (1 - t) * ancestor,     t = N c / (1 + (N - 1) c)

m = the target and the donors, w_m their shares, N how many have one, and c the mean cosine between their
task vectors theta_m - ancestor. Each tensor is one long vector, whatever its shape.

Source: Model Stock (arXiv:2403.19522); for two models, t = 2 c / (1 + c).
The paper takes one angle for all pairs; the mean of the pairs' cosines is mergekit's choice. The mean of the
models is plain in both: alpha = n / (n + 1) for n donors, so 0.5 for one. With `per=row`, each row of a
matrix has its own t (mergekit's `filter_wise`); tensors of one dimension are one row. Matrices are read once
more for their products there, too, which it does not need.

Differences: with c below 0 the formula extrapolates away from the models, and it has a pole at
c = -1 / (N - 1); the paper saw only acute angles. `limit=true` keeps t in [0, 1], where mergekit
extrapolates. A task vector that is zero has cosine 0 with all others, as in mergekit. Where
the product of two norms is below 1e-6, mergekit divides by 1e-6 instead, so that tensors that hardly changed
(norms below 1e-3) stay closer to the ancestor; `ModelStockBounded` does, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import torch

from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.election import weighted_sum
from adamms.merge.exactness import divide_, sum_in_order
from adamms.merge.method import Chunk, Statistics
from adamms.merge.shares import positive
from adamms.merge.surveys.products import Products, products_of_vectors, row_cosines
from adamms.merge.surveys.sums import Summation
from adamms.merge.task_vectors import TaskVectors


@dataclass(frozen=True)
class ModelStock(CombiningMethod):
    """Interpolation between the ancestor and the mean of the models, at a ratio found from their angles.

    Args:
        per: what has its own ratio.
        limit: keep the ratio in [0, 1].
    """

    per: Literal["tensor", "row"]
    limit: bool

    name: ClassVar[str] = "model_stock"
    formula: ClassVar[str] = "t * sum(w * model) + (1 - t) * ancestor, t = N * cos / (1 + (N - 1) * cos)"
    elementwise: ClassVar[bool] = True
    least: ClassVar[float] = 0.0  # product of two norms

    def survey(self) -> Summation:
        return products_of_vectors()

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        found, shares = Products(statistics), positive(shares)
        cosines = [[found.cosine(*pair, self.least)] for pair in combinations(shares, 2)]
        ratio = float(self.ratio(torch.tensor(cosines, dtype=torch.float64), len(shares)))
        return Combination(shares, TaskVectors(), scaling=ratio)

    def by_row(self, chunk: Chunk) -> bool:
        return self.per == "row" and chunk.target.dim() > 1

    def merge_rows(self, chunk: Chunk) -> torch.Tensor:
        vectors, shares = chunk.sharing_vectors(), chunk.positive_shares
        ratio = self.ratio(_row_cosines(list(vectors.values()), self.least), len(vectors))
        ratio = ratio.reshape(-1, *[1] * (chunk.target.dim() - 1)).to(chunk.target.device)
        return weighted_sum(vectors, shares).mul_(ratio).add_(chunk.base())

    def ratio(self, cosines: torch.Tensor, count: int) -> torch.Tensor:
        """t for `count` models, from the cosines of their pairs: shape (pairs, rows) -> (rows,)."""
        if count == 1:
            return torch.ones(1, dtype=torch.float64, device=cosines.device)
        cosine = divide_(sum_in_order(cosines), len(cosines))
        if self.limit:
            cosine = cosine.clamp(min=0)
        return count * cosine / (1 + (count - 1) * cosine)


@dataclass(frozen=True)
class ModelStockBounded(ModelStock):
    """The same with products of two norms counted as 1e-6 at least, as mergekit does."""

    least: ClassVar[float] = 1e-6


def _row_cosines(vectors: Sequence[torch.Tensor], least: float) -> torch.Tensor:
    """The cosine of each pair's rows: shape (pairs, rows), 0 where a row is zero."""
    found = [row_cosines(one, other, least) for one, other in combinations(vectors, 2)]
    return torch.stack(found) if found else torch.empty(0, len(vectors[0]), device=vectors[0].device)
