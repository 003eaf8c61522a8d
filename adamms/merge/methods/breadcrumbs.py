"""Model Breadcrumbs: of each change, the largest outliers and the smallest values are left out.

    theta = ancestor + scaling * sum_m w_m * (tau_m where low_m <= |tau_m| <= high_m)

m = the target and the donors, w_m their shares, tau_m = theta_m - ancestor. Of n magnitudes, the `gamma` * n
largest are left out, the next `density` * n are kept, and the rest is left out. Both numbers are rounded to
the nearest whole, so high_m and low_m are the magnitudes of ranks gamma * n + 1 and (gamma + density) * n.

Source: Model Breadcrumbs (arXiv:2312.06795). The paper's gamma is 1 - gamma here and its beta
is 1 - density - gamma; the names here are mergekit's. `scope` is what the n magnitudes are taken over:
`tensor` (the paper's layer, mergekit's `breadcrumbs`) or `row` (the authors' code, which takes them along
the last dimension). Tensors of one dimension (norms, biases) are one row; embeddings count as matrices.
`elect=true` leaves out the models whose sign differs from the sum's (mergekit's `breadcrumbs_ties`).
`combine=mean` then divides by the shares of the models that are left.

Differences: all elements that equal a threshold are kept, so that the result does not depend on the order of
elements; others cut through equal magnitudes by position. mergekit's formula with gamma = 0 leaves out
everything unless density is 1, and its counts are rounded down. The thresholds of tensors are exact, found in
two passes over chunks.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import FiniteFloat

from adamms.errors import AdammsError
from adamms.merge.election import Combine, fused
from adamms.merge.method import Chunk, Density, Method
from adamms.merge.surveys.thresholds import Ranking, Thresholds


@dataclass(frozen=True)
class Breadcrumbs(Method):
    """Sum of the models' medium-sized changes.

    Args:
        density: the share of elements that are kept, in (0, 1]; one element at least.
        gamma: the share of elements that are left out because they are the largest; at most 1 - density.
        scope: what both shares are of.
        elect: leave out the models whose sign differs from the elected one.
        combine: with `elect`, `mean` or `sum` of the models that agree.
        scaling: what the merged task vector is multiplied with.
    """

    density: Density
    gamma: Annotated[float, Ge(0), Lt(1)]
    scope: Literal["tensor", "row"]
    elect: bool
    combine: Combine
    scaling: FiniteFloat

    name: ClassVar[str] = "breadcrumbs"
    formula: ClassVar[str] = "ancestor + scaling * sum(w * (model - ancestor) without extremes)"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("density", "scaling")

    def __post_init__(self) -> None:
        if self.density + self.gamma > 1 + 1e-9:
            raise AdammsError(
                f"merge.density and merge.gamma are {self.density!r} and {self.gamma!r}; "
                "expected at most 1 together: gamma is left out before density is kept"
            )

    def survey(self) -> Ranking:
        return Ranking(self._ranked, self.ranks, "tensor")

    def ranks(self, elements: int) -> tuple[int, int]:
        """The ranks of the largest and the smallest magnitude that are kept."""
        above = min(round(self.gamma * elements), elements - 1)
        return above + 1, above + min(max(1, round(self.density * elements)), elements - above)

    def merge(self, chunk: Chunk) -> torch.Tensor:
        assert isinstance(chunk.statistics, Thresholds)
        vectors, shares = chunk.sharing_vectors(), chunk.positive_shares
        for model, tau in vectors.items():
            tau.mul_(self._kept(tau.abs(), chunk.statistics.of.get(model)))
        merged = fused(vectors, shares, self.elect, self.combine)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _ranked(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        return {} if self.scope == "row" and len(chunk.shape) > 1 else chunk.task_vectors()

    def _kept(self, magnitudes: torch.Tensor, thresholds: tuple[float, ...] | None) -> torch.Tensor:
        """Which elements are kept; without `thresholds`, each row has its own."""
        if thresholds is not None:
            most, least = thresholds[0], thresholds[-1]
            return (magnitudes <= most) & (magnitudes >= least)
        ordered = magnitudes.sort(dim=-1, descending=True).values
        first, last = self.ranks(magnitudes.shape[-1])
        kept = magnitudes <= ordered[..., first - 1, None]
        return kept.logical_and_(magnitudes >= ordered[..., last - 1, None])
