"""Task Singular Vectors: each model's leading singular vectors, made orthogonal to the other models'.

    w_m tau_m ~ U_m S_m V_m,   the `rank` share of the singular values, the largest, for each model
    theta = ancestor + scaling * O([U_1 .. U_N]) diag(S_1 .. S_N) O([V_1; ..; V_N]),   O(X) = P Q of X = P D Q

m = the N of target and donors that have a share w_m, tau_m = theta_m - ancestor: (rows, columns); O is the
polar factor, the nearest matrix with orthonormal columns (for U) or rows (for V).

Source: Task Singular Vectors (arXiv:2412.00081), TSV-Merge, and the authors' code. The paper
has no weights: its sum of task vectors is `scaling` = N at equal shares (alpha 0.5 and scaling 2 for one
donor). `rank` is 1 / N by default, as in the paper; 1 keeps all (the authors' lossless variant).

Only matrices have singular vectors. Tensors of other dimensions (norms, biases), embeddings and heads
become ancestor + scaling * sum_m w_m tau_m; where roles are not known, matrices with `vocabulary_rows` rows
or more count as embeddings, whose rows are tokens and too many to decompose. The authors' code averages
tensors of other dimensions too; embeddings do not occur there.

Differences: singular values that are numerically zero have arbitrary vectors, which the authors' code mixes
into the orthogonalisation. Here they are left out, so that the result is determined also for models trained
with adapters of low rank. A model keeps at least one singular value.

Memory: the whole tensor in float64, about 8 * (4 N + 6) * rows * columns bytes at the peak; on one thread
per tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Le
from pydantic import FiniteFloat, PositiveInt

from adamms.merge.singular import MatrixMethod, decompose, orthogonalised


@dataclass(frozen=True)
class Tsv(MatrixMethod):
    """Merge of low-rank parts that do not interfere.

    Args:
        rank: the share of the singular values that each model keeps; None for 1 / N.
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: where roles are not known, matrices with as many rows or more count as embeddings.
    """

    rank: Annotated[float, Gt(0), Le(1)] | None
    scaling: FiniteFloat
    vocabulary_rows: PositiveInt

    name: ClassVar[str] = "tsv"
    formula: ClassVar[str] = (
        "ancestor + scaling * sum(w * (model - ancestor), singular vectors made orthogonal)"
    )

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return self.rank in (None, 1) and self.scaling == 1 and not any(coefficients.values())

    def of_matrices(self, vectors: Mapping[str, torch.Tensor], shares: Mapping[str, float]) -> torch.Tensor:
        return self.decorrelated([tau.mul_(shares[model]) for model, tau in vectors.items()])

    def decorrelated(self, vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        """The product of the orthogonalised singular vectors: (rows, columns)."""
        values = min(vectors[0].shape)
        count = values // len(vectors) if self.rank is None else int(self.rank * values)
        parts = [decompose(vector).leading(max(1, count)) for vector in vectors]
        left = orthogonalised(torch.cat([part.left for part in parts], dim=1))
        right = orthogonalised(torch.cat([part.right for part in parts], dim=0))
        return (left * torch.cat([part.values for part in parts])) @ right
