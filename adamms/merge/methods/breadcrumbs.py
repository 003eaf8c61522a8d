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
elements; others cut through equal magnitudes by position. mergekit's counts are rounded down, which
`BreadcrumbsRoundedDown` does, too. The thresholds of tensors are exact, found in two passes over chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import FiniteFloat

from adamms.errors import AdammsError
from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.election import Combine, Election, fused
from adamms.merge.method import TARGET, Chunk, Densities, Statistics, as_mapping, of_model
from adamms.merge.shares import positive
from adamms.merge.surveys.thresholds import Ranking, Thresholds
from adamms.merge.task_vectors import TaskVectors

Outliers = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class Breadcrumbs(CombiningMethod):
    """Sum of the models' medium-sized changes.

    Args:
        density: the share of elements that are kept, in (0, 1], one element at least; or model -> its own,
            and of others all.
        gamma: the share of elements that are left out because they are the largest, at most 1 - density; or
            model -> its own.
        scope: what both shares are of.
        elect: leave out the models whose sign differs from the elected one.
        combine: with `elect`, `mean` or `sum` of the models that agree.
        scaling: what the merged task vector is multiplied with.
    """

    density: Densities
    gamma: Outliers | Mapping[str, Outliers]
    scope: Literal["tensor", "row"]
    elect: bool
    combine: Combine
    scaling: FiniteFloat

    name: ClassVar[str] = "breadcrumbs"
    formula: ClassVar[str] = "ancestor + scaling * sum(w * (model - ancestor) without extremes)"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("density", "scaling")
    leaves_out_all_of_gamma: ClassVar[bool] = True

    def __post_init__(self) -> None:
        named = {**as_mapping(self.density), **as_mapping(self.gamma)}
        for model in (named or (TARGET,)) if self.leaves_out_all_of_gamma else ():
            density, gamma = self.shares_of(model)
            if density + gamma > 1 + 1e-9:
                raise AdammsError(
                    f"merge.density and merge.gamma are {density!r} and {gamma!r}; "
                    "expected at most 1 together: gamma is left out before density is kept"
                )

    def shares_of(self, model: str) -> tuple[float, float]:
        """The density and gamma of one model."""
        return of_model(self.density, model), of_model(self.gamma, model, 0.0)

    def survey(self) -> Ranking:
        taken = TaskVectors() if self.scope == "tensor" else self._vectors_in_one_row
        return Ranking(taken, self._all_ranks, "tensor")

    def _all_ranks(self, elements: int) -> tuple[int, ...]:
        """`ranks` of TARGET and of each model that has numbers of its own."""
        return tuple(rank for model in self._models for rank in self.ranks(elements, *self.shares_of(model)))

    @property
    def _models(self) -> list[str]:
        """Whose numbers may differ; TARGET stands for all others."""
        return list(dict.fromkeys([TARGET, *as_mapping(self.density), *as_mapping(self.gamma)]))

    @staticmethod
    def ranks(elements: int, density: float, gamma: float) -> tuple[int, int]:
        """The ranks of the largest and the smallest magnitude that are kept."""
        above = min(round(gamma * elements), elements - 1)
        return above + 1, above + min(max(1, round(density * elements)), elements - above)

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        assert isinstance(statistics, Thresholds)
        ranges = {name: self._range(found, name) for name, found in statistics.of.items()}
        least = {name: found[-1] for name, found in ranges.items()}
        vectors = TaskVectors(least, most={name: found[0] for name, found in ranges.items()})
        elected: Election | None = "weighted" if self.elect else None
        return Combination(positive(shares), vectors, self.scaling, elected, self.combine)

    def by_row(self, chunk: Chunk) -> bool:
        return self.scope == "row" and len(chunk.shape) > 1

    def merge_rows(self, chunk: Chunk) -> torch.Tensor:
        vectors, shares = chunk.sharing_vectors(), chunk.positive_shares
        for model, tau in vectors.items():
            tau.mul_(self._kept_in_rows(model, tau.abs()))
        merged = fused(vectors, shares, self.elect, self.combine)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _range(self, found: tuple[float, ...], model: str) -> tuple[float, ...]:
        """Of the magnitudes at `_all_ranks` the model's two; infinity alone where no value is finite."""
        place = self._models.index(model) if model in self._models else 0
        return found if len(found) == 1 else found[2 * place : 2 * place + 2]

    def _vectors_in_one_row(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        return {} if self.by_row(chunk) else chunk.task_vectors()

    def _kept_in_rows(self, model: str, magnitudes: torch.Tensor) -> torch.Tensor:
        """Which elements of a model are kept where each row has its own thresholds."""
        ordered = magnitudes.sort(dim=-1, descending=True).values
        first, last = self.ranks(magnitudes.shape[-1], *self.shares_of(model))
        kept = magnitudes <= ordered[..., first - 1, None]
        return kept.logical_and_(magnitudes >= ordered[..., last - 1, None])


@dataclass(frozen=True)
class BreadcrumbsRoundedDown(Breadcrumbs):
    """The same as mergekit counts: shares are rounded down, at density 1 nothing is left out.

    Where both shares are more than 1 together, fewer of the largest are left out.
    """

    leaves_out_all_of_gamma: ClassVar[bool] = False

    @staticmethod
    def ranks(elements: int, density: float, gamma: float) -> tuple[int, int]:
        if density == 1:
            return 1, elements
        kept = max(1, int(density * elements))
        above = min(int(gamma * elements), elements - kept)
        return above + 1, above + kept
