"""Task Singular Vectors: each model's leading singular vectors, made orthogonal to the other models'.

    w_m tau_m ~ U_m S_m V_m,   the `rank` share of the singular values, the largest, for each model
    theta = ancestor + scaling * O([U_1 .. U_N]) diag(S_1 .. S_N) O([V_1; ..; V_N]),   O(X) = P Q of X = P D Q

m = the N of target and donors that have a share w_m, tau_m = theta_m - ancestor: (rows, columns); O is the
polar factor, the nearest matrix with orthonormal columns (for U) or rows (for V).

Source: Task Singular Vectors (arXiv:2412.00081), section 4.2, TSV-Merge, and the authors' code. The paper
has no weights: its sum of task vectors is `scaling` = N at equal shares (alpha 0.5 and scaling 2 for one
donor). `rank` is 1 / N by default, as in the paper; 1 keeps all (the authors' lossless variant).

Only matrices have singular vectors. Tensors of other dimensions (norms, biases) and matrices with
`vocabulary_rows` rows or more (embeddings, heads: the decomposition of 150,000 x 3,584 takes an hour on a
processor, and rows are tokens, not neurons) become ancestor + scaling * sum_m w_m tau_m, as they are
averaged in the authors' code; there, embeddings do not occur.

Differences: singular values that are numerically zero have arbitrary vectors, which the authors'
code mixes into the orthogonalisation; here they are left out, so that the result is determined (for models
trained with adapters of low rank this is the usual case). A model keeps one singular value at least.

Memory: the whole tensor in float64, about 8 * (4 N + 6) * rows * columns bytes at the peak; on one thread
per tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from adamms.merge.method import Chunk
from adamms.merge.ranges import check_between, check_whole
from adamms.merge.singular import decompose, orthogonalised
from adamms.merge.vectors import TaskVector, weighted_sum, weighted_task_vectors


@dataclass(frozen=True)
class Tsv:
    """Merge of low-rank parts that do not interfere.

    Args:
        rank: the share of the singular values that each model keeps, in (0, 1]; None for 1 / N.
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: matrices with as many rows or more are averaged.
    """

    rank: float | None = None
    scaling: float = 1.0
    vocabulary_rows: int = 30_000

    name: ClassVar[str] = "tsv"
    formula: ClassVar[str] = "ancestor + scaling * (orthogonalised leading singular vectors of w * (model - ancestor))"
    elementwise: ClassVar[bool] = False
    needs_ancestor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_between("merge.method.rank", self.rank, 0, 1, above=True)
        check_between("merge.method.scaling", self.scaling, -float("inf"), float("inf"))
        check_whole("merge.method.vocabulary_rows", self.vocabulary_rows, 1)

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return not any(coefficients.values())

    def survey(self) -> None:
        return None

    def merge(self, chunk: Chunk) -> torch.Tensor:
        vectors = weighted_task_vectors(chunk)
        averaged = chunk.target.dim() != 2 or len(chunk.target) >= self.vocabulary_rows
        merged = weighted_sum(vectors) if averaged else self.decorrelated(vectors)
        return chunk.base().add_(merged.mul_(self.scaling))

    def decorrelated(self, vectors: Sequence[TaskVector]) -> torch.Tensor:
        """The product of the orthogonalised singular vectors: (rows, columns)."""
        share = 1 / len(vectors) if self.rank is None else self.rank
        # 1 / N of a number is rounded down exactly, which a product with a float is not.
        least = min(vectors[0].tau.shape)
        count = max(1, least // len(vectors) if self.rank is None else int(share * least))
        parts = [decompose(vector.tau.mul_(vector.share)).leading(count) for vector in vectors]
        left = orthogonalised(torch.cat([part.left for part in parts], dim=1))
        right = orthogonalised(torch.cat([part.right for part in parts], dim=0))
        return (left * torch.cat([part.values for part in parts])) @ right
