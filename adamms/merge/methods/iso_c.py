"""Isotropic merging in the common subspace: the sum of the changes, its singular values made equal.

    sum_m w_m tau_m = U diag(s) V
    theta = ancestor + scaling * mean(s) * U V

m = the target and the donors, w_m their shares, tau_m = theta_m - ancestor: (rows, columns).

Source: Iso-C (arXiv:2502.04959), section 4, and the authors' code. The paper has no weights: its sum of
task vectors is `scaling` = N at equal shares for N models (alpha 0.5 and scaling 2 for one donor), times
the paper's alpha, which it chooses on validation data.

Only matrices have singular vectors. Tensors of other dimensions (norms, biases), embeddings and heads
become ancestor + scaling * sum_m w_m tau_m; where roles are not known, matrices with `vocabulary_rows` rows
or more count as embeddings. The authors' code averages them too; embeddings do not occur there.

Differences: singular vectors of values that are numerically zero are arbitrary, and the authors' code gives
them the mean value as well. Here they are left out and the mean is over the rest. So the sum of the singular
values stays what it was, and the result is determined also for models trained with adapters of low rank.
For matrices of full rank both are the same.

Memory: the whole tensor in float64, about 8 * (N + 7) * rows * columns bytes at the peak; on one thread
per tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import FiniteFloat, PositiveInt

from adamms.merge.election import weighted_sum
from adamms.merge.singular import MatrixMethod, decompose


@dataclass(frozen=True)
class IsoC(MatrixMethod):
    """Task arithmetic with a flat spectrum.

    Args:
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: where roles are not known, matrices with as many rows or more count as embeddings.
    """

    scaling: FiniteFloat
    vocabulary_rows: PositiveInt

    name: ClassVar[str] = "iso_c"
    formula: ClassVar[str] = "ancestor + scaling * (sum(w * (model - ancestor)) with equal singular values)"
    # Also at alpha 0, the target's singular values are made equal.
    neutral: ClassVar[tuple[str, ...] | None] = None

    def of_matrices(self, vectors: Mapping[str, torch.Tensor], shares: Mapping[str, float]) -> torch.Tensor:
        found = decompose(weighted_sum(vectors, shares))
        merged = found.left @ found.right
        return merged.mul_(found.values.mean()) if len(found.values) else merged
