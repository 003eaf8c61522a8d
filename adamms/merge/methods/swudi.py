"""SWUDI and SWUDI-A: WUDI-Merging stopped early on purpose, in closed form, without data.

    A = sum_m c_m tau_m^T tau_m,   B = sum_m c_m tau_m tau_m^T tau_m,   c_m = N w_m / |tau_m|^2
    A = V diag(l) V^T, l descending,   f_k = 1 - exp(-time * l_k) for the first K, else 0
    theta = ancestor + scaling * (start + (B - start A) V diag(f / l) V^T)

m = the N of target and donors that have a share w_m, tau_m = theta_m - ancestor: (rows, columns); |.| is the
Frobenius norm. `start` is N * sum_m w_m tau_m for `sum` (at equal shares the sum of the task vectors), or
sum_m w_m tau_m for `mean`.

With K = columns this is where gradient flow on WUDI's objective (see `wudi`) is after `time`, from `start`.
Directions with a small l_k, in which little of any task vector lies, stay at the start: a division by l_k
would enlarge what is noise there. K is the `rank` share of the columns, rounded up. With rank=null it is
(sum_k sqrt(l_k))^2 / sum_k l_k of each matrix, rounded up. time=null stands for f_k = 1.

Source: "Closed-Form Spectral Regularization for Multi-Task Model Merging" (arXiv:2606.07289): its abstract
and the authors' code, `swudi_merge` and `aswudi_merge`; its text was not at hand. SWUDI-A, `aswudi` in the
code, is rank=null and time=null. The models have equal shares there (alpha = n / (n + 1) for n donors). Its
`scaling` is 1, and near 1 / N for multimodal models.

Differences: the code counts eigenvalues below 1e-8 as 1e-8, so that K of a matrix of low rank is somewhat
larger; here those up to `least` of the largest are zero. It has other rules for K, which are left out.

Only matrices have rows that span inputs. Tensors of other dimensions (norms, biases), embeddings and heads
become ancestor + scaling * sum_m w_m tau_m; where roles are not known, matrices with `vocabulary_rows` rows
or more count as embeddings. The code averages the former and leaves out the latter.

Memory: the whole tensor in float64. If there are more columns than the N * rows of all tau_m, A is formed in
the basis of those rows. With r = min(columns, N * rows): about 8 * ((N + 5) * rows * columns + 9 r^2) bytes
at the peak, plus 8 * columns * r for the basis; on one thread per tensor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import FiniteFloat, PositiveInt

from adamms.merge.interference import Interference, Term
from adamms.merge.singular import MatrixMethod


@dataclass(frozen=True)
class Swudi(MatrixMethod):
    """Least interference, of the directions that much of the task vectors lies in.

    Args:
        time: how long gradient flow runs; None for its end.
        rank: the share of the columns' directions that is kept; None for each matrix's own number.
        start: where it begins.
        least: eigenvalues of A up to this part of the largest count as zero.
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: where roles are not known, matrices with as many rows or more count as embeddings.
    """

    time: Annotated[float, Gt(0)] | None
    rank: Annotated[float, Gt(0), Le(1)] | None
    start: Literal["sum", "mean"]
    least: Annotated[float, Ge(0), Lt(1)]
    scaling: FiniteFloat
    vocabulary_rows: PositiveInt

    name: ClassVar[str] = "swudi"
    formula: ClassVar[str] = "ancestor + scaling * least interference of (model - ancestor), stopped early"
    neutral: ClassVar[tuple[str, ...]] = ("scaling",)

    def of_matrices(self, vectors: Mapping[str, torch.Tensor], shares: Mapping[str, float]) -> torch.Tensor:
        count, start = len(vectors), torch.zeros_like(next(iter(vectors.values())))
        terms = []
        for model, tau in vectors.items():
            start.add_(tau * shares[model])
            if norm := float(tau.norm()):
                terms.append(Term(tau, tau, count * shares[model] / norm**2))
        if self.start == "sum":
            start.mul_(count)
        if not terms:
            return start
        interference = Interference.of(start, terms)
        values = interference.values
        kept = interference.above(self.least)
        kept[: max(0, len(values) - self.directions(values, start.shape[1]))] = False
        values = values[kept]
        return interference.changed(
            kept, values if self.time is None else values / -torch.expm1(-self.time * values)
        )

    def directions(self, values: torch.Tensor, columns: int) -> int:
        """How many of the largest eigenvalues are kept: K."""
        if self.rank is not None:
            return math.ceil(self.rank * columns)
        positive = values.clamp(min=0.0)
        return math.ceil(float(positive.sqrt().sum()) ** 2 / float(positive.sum()))
