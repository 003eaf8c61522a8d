"""Iso-CTS: a common subspace of the changes and one of each model's own, all singular values made equal.

    sum_m w_m tau_m ~ U_0 S_0 V_0,            the k_0 largest singular values: the common subspace
    (1 - U_0 U_0^T) w_m tau_m ~ U_m S_m V_m,  the k largest of what each model has beside it
    theta = ancestor + scaling * mean(S_0, .., S_N) * O([U_0 .. U_N]) O([V_0; ..; V_N])

m = the N of target and donors that have a share w_m, tau_m = theta_m - ancestor: (rows, columns); O is the
polar factor, the nearest matrix with orthonormal columns (for U) or rows (for V). Of r = min(rows, columns)
directions, k = round((r - floor(common * r)) / N) are each model's and k_0 = r - N k are common.

Source: Iso-CTS (arXiv:2502.04959), section 4, and the authors' code (`iso_cts`; `common` is its
`common_space_fraction`). The paper has no weights: its sum of task vectors is `scaling` = N at equal shares
for N models (alpha 0.5 and scaling 2 for one donor), times the paper's alpha, which it chooses on validation
data.

Only matrices have singular vectors. Tensors of other dimensions (norms, biases), embeddings and heads
become ancestor + scaling * sum_m w_m tau_m; where roles are not known, matrices with `vocabulary_rows` rows
or more count as embeddings. The authors' code averages them too; embeddings do not occur there.

Differences, as in `iso_c`: singular vectors of values that are numerically zero (beside the model's change)
are arbitrary. Here they are left out, and the mean is over the rest. For matrices of full rank both are the
same.

Memory: the whole tensor in float64, about 8 * (3 N + 18) * rows * columns bytes at the peak; on one thread
per tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from pydantic import FiniteFloat, PositiveInt

from adamms.merge.singular import MatrixMethod, decompose, orthogonalised


@dataclass(frozen=True)
class IsoCts(MatrixMethod):
    """A flat spectrum over common and own directions.

    Args:
        common: the share of the directions that is common, about.
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: where roles are not known, matrices with as many rows or more count as embeddings.
    """

    common: Annotated[float, Ge(0), Le(1)]
    scaling: FiniteFloat
    vocabulary_rows: PositiveInt

    name: ClassVar[str] = "iso_cts"
    formula: ClassVar[str] = (
        "ancestor + scaling * (w * (model - ancestor), common and own directions, equal singular values)"
    )
    # Also at alpha 0, the target's singular values are made equal.
    neutral: ClassVar[tuple[str, ...] | None] = None

    def of_matrices(self, vectors: Mapping[str, torch.Tensor], shares: Mapping[str, float]) -> torch.Tensor:
        own = [tau.mul_(shares[model]) for model, tau in vectors.items()]
        total = own[0].clone()
        for vector in own[1:]:
            total.add_(vector)
        size = min(total.shape)
        each = min(round((size - int(self.common * size)) / len(own)), size // len(own))
        shared = decompose(total).leading(size - each * len(own))
        parts = [shared]
        for vector in own:
            strength = float(vector.norm())
            rest = vector.sub_(shared.left @ (shared.left.T @ vector))
            parts.append(decompose(rest, beside=strength).leading(each))
        left = orthogonalised(torch.cat([part.left for part in parts], dim=1))
        right = orthogonalised(torch.cat([part.right for part in parts], dim=0))
        values = torch.cat([part.values for part in parts])
        merged = left @ right
        return merged.mul_(values.mean()) if len(values) else merged
