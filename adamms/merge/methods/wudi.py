"""WUDI-Merging and OptMerge: the change that interferes least with what each model learned, without data.

    tau* = argmin over tau of  sum_m w_m * |(tau - target_m) D_m^T|^2 / |tau_m|^p
    theta = ancestor + scaling * tau*,     tau_m = theta_m - ancestor: (rows, columns)

m = the N of target and donors that have a share w_m; |.| are Frobenius norms. The rows of tau_m span
approximately the layer's inputs in training, so that (tau - tau_m) tau_m^T stands for the change of its
output.

    variant=wudi        target_m = D_m = tau_m                                arXiv:2503.08099
    variant=optmerge    target_m = rank-k part of (tau_m - mean) + mean,      arXiv:2505.19892
                        D_m = rank-k part of tau_m; k = min(rows, columns) // N, mean = sum_m w_m tau_m
    variant=optmerge_adapters    target_m = D_m = rank-k part of tau_m        the same, for trained adapters

The papers have no weights: equal shares (alpha = n / (n + 1) for n donors) and `scaling` 1. Here the shares
weigh the terms of the sum, so that the variant wudi gives the donor at alpha 1. p is `power`: 2 in the paper
and most of the authors' code, 1 in a part of it (`vit/coef.py`).

`solver=exact`: the sum is quadratic in tau. Its gradient is zero where tau A = B, with A = sum_m c_m D_m^T
D_m (columns x columns), B = sum_m c_m target_m D_m^T D_m, c_m = N w_m / |tau_m|^p. The solution nearest to
`start` is start + (B - start A) A^+, to which gradient descent converges.

`solver=adam` is what the papers run instead: `steps` steps of Adam (arXiv:1412.6980), each of about `rate` in
every element. With the papers' 300 and 1e-5 it stops long before the minimum, within 0.003 of `start`:
N * sum_m w_m tau_m for `sum` (at equal shares the sum of the task vectors), sum_m w_m tau_m for `mean`.

`solver=sgd` (momentum 0.9) from `mean` at `rate` 1e-4 is OptMerge's code for trained adapters, which needs
that early stop: together, its D_m have about as many rows as there are columns, so that the minimum fits all
of them at the price of large values in between. `exact` is there for comparison.

Only matrices have rows that span inputs. Tensors of other dimensions (norms, biases), embeddings and heads
become ancestor + scaling * sum_m w_m tau_m; where roles are not known, matrices with `vocabulary_rows` rows
or more count as embeddings. The authors average the former and leave out the latter.

Memory: the whole tensor in float64. If there are more columns than the N * rows of all D_m, A is formed in
the basis of those rows. With r = min(columns, N * rows): about 8 * ((3 N + 3) * rows * columns + 4 r^2)
bytes at the peak, plus N * 8 * columns * r for the basis; with steps 3 N + 10 in the place of 3 N + 3, and
nothing else. On one thread per tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import FiniteFloat, PositiveInt

from adamms.merge.election import weighted_sum
from adamms.merge.interference import Interference, Term
from adamms.merge.singular import MatrixMethod, decompose

# Of SGD and Adam; Adam's second decay rate, and its guard against division by zero: its paper's defaults.
MOMENTUM, VARIANCE, GUARD = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Wudi(MatrixMethod):
    """Minimal interference between task vectors.

    Args:
        variant: what target_m and D_m are.
        solver: how the minimum is found, or how far descent goes towards it.
        start: where descent begins. If several points are the minimum, `exact` takes the one nearest to
            it; with `variant=wudi` both starts lead to the same point.
        steps, rate: of Adam or SGD.
        power: of the norms in the denominator, 1 or 2.
        least: eigenvalues of A up to this part of the largest count as zero.
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: where roles are not known, matrices with as many rows or more count as embeddings.
    """

    variant: Literal["wudi", "optmerge", "optmerge_adapters"]
    solver: Literal["exact", "adam", "sgd"]
    start: Literal["sum", "mean"]
    steps: PositiveInt
    rate: Annotated[float, Gt(0), Le(1)]
    power: Annotated[int, Ge(1), Le(2)]
    least: Annotated[float, Ge(0), Lt(1)]
    scaling: FiniteFloat
    vocabulary_rows: PositiveInt

    name: ClassVar[str] = "wudi"
    formula: ClassVar[str] = "ancestor + scaling * argmin sum(w * |(tau - tau_m) tau_m^T|^2 / |tau_m|^2)"

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        # Of one model target_m is tau_m, where descent begins and ends; an adapter's is its leading part.
        at_start = self.variant != "optmerge_adapters" and self.scaling == 1
        return at_start and not any(coefficients.values())

    def of_matrices(self, vectors: Mapping[str, torch.Tensor], shares: Mapping[str, float]) -> torch.Tensor:
        moved = [model for model, tau in vectors.items() if tau.count_nonzero()]
        if not moved:
            return weighted_sum(vectors, shares)
        return self.least_interference([vectors[m] for m in moved], [shares[m] for m in moved])

    def least_interference(self, vectors: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
        """tau* of task vectors that are not zero: (rows, columns)."""
        mean = torch.zeros_like(vectors[0])
        for tau, share in zip(vectors, shares, strict=True):
            mean.add_(tau * share)
        count = max(1, min(mean.shape) // len(vectors))
        away = mean if self.variant == "optmerge" else torch.zeros_like(mean)
        terms = []
        for tau, share in zip(vectors, shares, strict=True):
            target = direction = tau
            if self.variant != "wudi":
                target = decompose(tau - away).leading(count).product().add_(away)
                found = decompose(tau).leading(count)
                direction = found.right * found.values[:, None]  # as a factor it measures like U S V
            terms.append(Term(target, direction, len(vectors) * share / float(tau.norm()) ** self.power))
        start = mean * len(vectors) if self.start == "sum" else mean
        if self.solver != "exact":
            return self._descend(start, terms)
        interference = Interference.of(start, terms)
        kept = interference.above(self.least)
        return interference.changed(kept, interference.values[kept])

    def _descend(self, start: torch.Tensor, terms: Sequence[Term]) -> torch.Tensor:
        """Adam or SGD from `start`."""
        at, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
        for step in range(1, self.steps + 1):
            gradient = torch.zeros_like(start)
            for target, direction, scale in terms:
                gradient.add_((at - target) @ direction.T @ direction, alpha=2 * scale)
            if self.solver == "sgd":
                at.sub_(first.mul_(MOMENTUM).add_(gradient) * self.rate)
                continue
            first.mul_(MOMENTUM).add_(gradient * (1 - MOMENTUM))
            second.mul_(VARIANCE).add_(gradient.square() * (1 - VARIANCE))
            deviation = (second / (1 - VARIANCE**step)).sqrt_().add_(GUARD)
            at.sub_((first / (1 - MOMENTUM**step)).div_(deviation).mul_(self.rate))
        return at
