"""Model Stock: the models' mean, drawn back to the ancestor by how much they disagree, tensor by tensor.

    theta = t * sum_m w_m theta_m + (1 - t) * ancestor,     t = N c / (1 + (N - 1) c)

m = the target and the donors, w_m their shares, N how many have one, and c the mean cosine between their
task vectors theta_m - ancestor. Each tensor is one long vector whatever its shape (vectors, matrices and
embeddings alike).

Source: Model Stock (arXiv:2403.19522), section 4 (two models: t = 2 c / (1 + c)) and its appendix for N.
The paper takes one angle for all pairs; the mean of the pairs' cosines is mergekit's choice. The paper's
and mergekit's mean is plain: alpha = n / (n + 1) for n donors, so 0.5 for one. `per=row` has an own t for
each row of a matrix (mergekit's `filter_wise`); tensors of one dimension are one row.

Differences: with c below 0 the formula extrapolates, away from the models, and has a pole at
c = -1 / (N - 1); the paper saw only acute angles. `limit=true` keeps t in [0, 1], where mergekit
extrapolates. A task vector that is zero has cosine 0 with all others, as in mergekit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch

from adamms.errors import check_choice
from adamms.merge.method import Chunk
from adamms.merge.products import Products, ProductsOfTensor, row_products
from adamms.merge.vectors import weighted_sum, weighted_task_vectors


@dataclass(frozen=True)
class ModelStock:
    """Interpolation between the ancestor and the mean of the models, at a ratio found from their angles.

    Args:
        per: `tensor` or `row`: what has a ratio of its own.
        limit: keep the ratio in [0, 1].
    """

    per: str = "tensor"
    limit: bool = True

    name: ClassVar[str] = "model_stock"
    formula: ClassVar[str] = "t * sum(w * model) + (1 - t) * ancestor, t = N * cos / (1 + (N - 1) * cos)"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("merge.method.per", self.per, ("tensor", "row"))

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return not any(coefficients.values())

    def survey(self) -> ProductsOfTensor:
        return ProductsOfTensor(task_vectors=True)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        assert isinstance(chunk.statistics, Products)
        vectors = weighted_task_vectors(chunk)
        names = [vector.model for vector in vectors]
        if self.per == "tensor" or chunk.target.dim() == 1:
            cosines = [chunk.statistics.cosine(*pair) for pair in combinations(names, 2)]
            ratio = self.ratio(torch.tensor(cosines, dtype=torch.float64).reshape(-1, 1), len(names))
        else:
            ratio = self.ratio(_row_cosines([vector.tau for vector in vectors]), len(names))
        ratio = ratio.to(chunk.target.device).reshape(-1, *[1] * (chunk.target.dim() - 1))
        return chunk.base().add_(weighted_sum(vectors).mul_(ratio))

    def ratio(self, cosines: torch.Tensor, count: int) -> torch.Tensor:
        """t of `count` models, from the cosines of their pairs: shape (pairs, rows) -> (rows,)."""
        if count == 1:
            return torch.ones(cosines.shape[1:], dtype=torch.float64, device=cosines.device)
        cosine = cosines.sum(dim=0) / len(cosines)
        if self.limit:
            cosine = cosine.clamp(min=0)
        return count * cosine / (1 + (count - 1) * cosine)


def _row_cosines(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The cosine of each pair's rows: shape (pairs, rows), 0 where a row is zero."""
    norms = [row_products(vector, vector).sqrt_() for vector in vectors]
    found = [
        row_products(vectors[i], vectors[j]) / (norms[i] * norms[j])
        for i, j in combinations(range(len(vectors)), 2)
    ]
    return torch.stack(found).nan_to_num_(nan=0.0).clamp_(-1, 1) if found else norms[0][None]
