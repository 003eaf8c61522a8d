"""Model Breadcrumbs: of each change the largest outliers and the smallest values are left out.

    theta = ancestor + scaling * sum_m w_m * (tau_m where low_m <= |tau_m| <= high_m)

m = the target and the donors, w_m their shares, tau_m = theta_m - ancestor. Of n magnitudes the `gamma` * n
largest are left out, the next `density` * n are kept, and the rest is left out (both numbers to the
nearest whole): high_m and low_m are the magnitudes of ranks gamma * n + 1 and (gamma + density) * n.

Source: Model Breadcrumbs (arXiv:2312.06795), section 3. The paper's gamma is 1 - gamma here and its beta
is 1 - density - gamma; the names here are mergekit's. `scope` is what the n magnitudes are taken over:
`tensor` (the paper's layer, mergekit's `breadcrumbs`) or `row` (the authors' code, which takes them along
the last dimension). Tensors of one dimension (norms, biases) are one row; embeddings are matrices like
others. `elect=true` leaves out the models whose sign is not that of the sum (mergekit's
`breadcrumbs_ties`), and `fuse=mean` then divides by the shares of the rest.

Differences: all elements that equal a threshold are kept (the others cut through equal magnitudes by
position), so that the result does not depend on the order of elements. mergekit's formula with gamma = 0
leaves out everything unless density is 1; its counts are rounded down. The thresholds of tensors are
found in two passes over chunks, exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from adamms.errors import AdammsError, check_choice
from adamms.merge.method import Chunk
from adamms.merge.ranges import check_between
from adamms.merge.ranks import RanksOfTensor, Thresholds
from adamms.merge.vectors import TaskVector, consensus, weighted_sum, weighted_task_vectors


@dataclass(frozen=True)
class Breadcrumbs:
    """Sum of the models' medium-sized changes.

    Args:
        density: the share of elements that are kept, in [0, 1].
        gamma: the share of elements that are left out because they are the largest; at most 1 - density.
        scope: `tensor` or `row`: what the shares are of.
        elect: leave out the models whose sign is not the elected one.
        fuse: with `elect`, `mean` or `sum` of the models that agree.
        scaling: what the merged task vector is multiplied with.
    """

    density: float = 0.85
    gamma: float = 0.01
    scope: str = "tensor"
    elect: bool = False
    fuse: str = "sum"
    scaling: float = 1.0

    name: ClassVar[str] = "breadcrumbs"
    formula: ClassVar[str] = "ancestor + scaling * sum(w * (model - ancestor) without extremes)"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_between("merge.method.density", self.density, 0, 1)
        check_between("merge.method.gamma", self.gamma, 0, 1)
        check_between("merge.method.scaling", self.scaling, -float("inf"), float("inf"))
        check_choice("merge.method.scope", self.scope, ("tensor", "row"))
        check_choice("merge.method.fuse", self.fuse, ("mean", "sum"))
        if self.density + self.gamma > 1 + 1e-9:
            raise AdammsError(
                f"merge.method.density and merge.method.gamma are {self.density!r} and {self.gamma!r}; expected "
                "at most 1 together: gamma is left out before density is kept"
            )

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return not any(coefficients.values())

    def survey(self) -> RanksOfTensor:
        return RanksOfTensor(self._magnitudes, self.ranks)

    def ranks(self, elements: int, nonzero: int = 0) -> tuple[int, int]:
        """Those of the largest and the smallest magnitude that is kept; (1, 0) if there is none."""
        above = round(self.gamma * elements)
        kept = min(round(self.density * elements), elements - above)
        return (above + 1, above + kept) if kept > 0 else (1, 0)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        assert isinstance(chunk.statistics, Thresholds)
        vectors = [self._trimmed(vector, chunk.statistics) for vector in weighted_task_vectors(chunk)]
        merged = consensus(vectors, self.fuse == "mean") if self.elect else weighted_sum(vectors)
        return chunk.base().add_(merged.mul_(self.scaling))

    def _magnitudes(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        if self.scope == "row" and len(chunk.shape) > 1:
            return {}
        return {model: tau.abs_() for model, tau in chunk.task_vectors().items()}

    def _trimmed(self, vector: TaskVector, found: Thresholds) -> TaskVector:
        magnitudes = vector.tau.abs()
        if self.scope == "row" and magnitudes.dim() > 1:
            ordered = magnitudes.sort(dim=-1, descending=True).values
            first, last = self.ranks(magnitudes.shape[-1])
            high = ordered[..., first - 1 : first]
            low = ordered[..., last - 1 : last] if last else high + 1
            kept = (magnitudes <= high) & (magnitudes >= low)
        else:
            most, least = found.values[vector.model]
            kept = (magnitudes <= most) & (magnitudes >= least)
        return replace(vector, tau=vector.tau.mul_(kept))
