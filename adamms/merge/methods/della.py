"""DELLA: small changes are dropped at random more often than large ones; then signs are elected.

    delta_m = tau_m * kept / keep,   keep = density - epsilon + 2 * epsilon * rank / (n - 1)
    theta = ancestor + scaling * sum_m w_m delta_m,     tau_m = theta_m - ancestor

m = the target and the donors, w_m their shares. `rank` is that of |tau_m| within its row of n elements, 0 for
the smallest. Each element is kept with its probability `keep` and divided by it, so that its expected value
stays. `elect=true` sums only the models whose sign is that of the sum, as TIES does, and `combine=mean`
divides by their shares. Without election the shares add up to 1.

Source: DELLA-Merging (arXiv:2406.11617), its steps Drop (MagPrune), Elect and Fuse, with ranks in rows as in
the authors' code. The paper's epsilon is the whole width of the range of probabilities; here, as in the
authors' code and mergekit's `della`, it is half of it. mergekit's `della_linear` is `elect=false`.

Rows are those of dimension 0: a neuron's incoming weights in a matrix, a token in an embedding. Tensors of
one dimension are one row. Random numbers belong to (seed, tensor, model, element), so that they do not
depend on chunks, shards and threads.

Differences: equal magnitudes have equal rank, the mean of their places; of two 16-bit models many differences
are equal. The others order them by position, so that later ones are kept more often. mergekit rescales all
kept elements by one factor per tensor, which restores the sum of magnitudes; the paper and the authors' code
divide by `keep`, as here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from pydantic import FiniteFloat, NonNegativeInt

from adamms.errors import AdammsError
from adamms.merge import kernel, kernel_ranks
from adamms.merge.election import Combine, fused
from adamms.merge.exactness import divide_
from adamms.merge.method import TARGET, Chunk, Densities, Method, Statistics, as_mapping, of_model
from adamms.merge.randomness import random_bits, uniform

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Della(Method):
    """Drop by magnitude at random, rescale, elect a sign, fuse.

    Args:
        density: the mean probability to keep an element, in (0, 1]; or model -> its own, and of others all.
        epsilon: half the range of probabilities in a row, or model -> its own; density +- epsilon must be
            within (0, 1].
        rescale: divide what is kept by its probability.
        elect: leave out the models whose sign differs from the elected one.
        combine: `mean` or `sum` of the models that agree.
        scaling: lambda, what the merged task vector is multiplied with.
        seed: of the random numbers.
    """

    density: Densities
    epsilon: Share | Mapping[str, Share]
    rescale: bool
    elect: bool
    combine: Combine
    scaling: FiniteFloat
    seed: NonNegativeInt

    name: ClassVar[str] = "della"
    formula: ClassVar[str] = "ancestor + scaling * consensus of w * (model - ancestor), dropped by magnitude"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("density", "scaling")

    def __post_init__(self) -> None:
        for model in {**as_mapping(self.density), **as_mapping(self.epsilon)} or (TARGET,):
            density, epsilon = self.numbers_of(model)
            if density < 1 and not (density > epsilon and density + epsilon <= 1):
                raise AdammsError(
                    f"merge.epsilon is {epsilon!r}; expected density - epsilon above 0 and density + "
                    f"epsilon at most 1, where merge.density is {density!r}"
                )

    def numbers_of(self, model: str) -> tuple[float, float]:
        """The density and epsilon of one model."""
        return of_model(self.density, model), of_model(self.epsilon, model, 0.0)

    def survey(self) -> "VectorsInOrder":
        return VectorsInOrder()

    def merge(self, chunk: Chunk) -> torch.Tensor:
        vectors, shares = chunk.sharing_vectors(), chunk.positive_shares
        for model, tau in vectors.items():
            if of_model(self.density, model) < 1:
                self._prune(tau, model, chunk)
        merged = fused(vectors, shares, self.elect, self.combine)
        return merged.mul_(self.scaling).add_(chunk.base())

    def _prune(self, tau: torch.Tensor, model: str, chunk: Chunk) -> None:
        assert isinstance(chunk.statistics, InOrder)
        (density, epsilon), ordered, start = self.numbers_of(model), None, chunk.start
        if tau.dim() == 1:
            ordered = chunk.statistics.magnitudes[model]
        elif kernel.fits([tau]) and tau[0].numel() > 1:
            draws = random_bits(self.seed, chunk.slot, model, start, tau.numel())
            done = kernel_ranks.thin(tau, draws, density - epsilon, 2 * epsilon, self.rescale)
            start, tau = start + done * tau[0].numel(), tau[done:]
        if tau.numel():
            keep = probabilities(tau.abs(), ordered, density, epsilon)
            tau.mul_(uniform(self.seed, chunk.slot, model, start, like=tau) < keep)
            if self.rescale:
                tau.div_(keep)


def probabilities(
    magnitudes: torch.Tensor, ordered: torch.Tensor | None, density: float, epsilon: float
) -> torch.Tensor:
    """How likely each element is kept: float64, of the shape of `magnitudes`.

    Args:
        magnitudes: whole rows, or part of a tensor of one dimension.
        ordered: all magnitudes of such a tensor, ascending.
        density, epsilon: of the model.
    """
    if ordered is None:
        most, places = magnitudes[0].numel() - 1, _twice_places_in_rows(magnitudes.flatten(1))
    else:
        most = len(ordered) - 1
        places = torch.searchsorted(ordered, magnitudes, right=True).add_(-1)
        places.add_(torch.searchsorted(ordered, magnitudes))
    share = divide_(places.double(), 2 * most) if most else torch.full_like(magnitudes, 0.5)
    return share.mul_(2 * epsilon).add_(density - epsilon).view(magnitudes.shape)


@dataclass(frozen=True)
class InOrder(Statistics):
    """Model -> the magnitudes of its task vector, ascending; only of tensors of one dimension."""

    magnitudes: Mapping[str, torch.Tensor]


@dataclass
class Collected:
    """The task vectors of a tensor of one dimension, which a chunk may hold a part of."""

    parts: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    stored: ClassVar[bool] = False

    def add(self, chunk: Chunk) -> None:
        if len(chunk.shape) == 1:
            for model, tau in chunk.task_vectors().items():
                self.parts.setdefault(model, []).append(tau.abs())

    def __iadd__(self, other: Self) -> Self:
        for model, parts in other.parts.items():
            self.parts.setdefault(model, []).extend(parts)
        return self


@dataclass(frozen=True)
class VectorsInOrder:
    """The survey: sort the magnitudes of tensors of one dimension. Chunks hold whole rows of the others."""

    scope: ClassVar[Literal["model", "tensor"]] = "tensor"
    passes: ClassVar[int] = 1

    def empty(self) -> Collected:
        return Collected()

    def conclude(self, found: Collected) -> InOrder:
        return InOrder({model: torch.cat(parts).sort().values for model, parts in found.parts.items()})


def _twice_places_in_rows(rows: torch.Tensor) -> torch.Tensor:
    """The first plus the last place that each element's value has in its row, from 0: (rows, n), int64."""
    values, positions = _sorted(rows)
    count = rows.shape[1]
    begins = torch.ones(rows.shape, dtype=torch.bool, device=rows.device)
    torch.ne(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    # Runs of equal values; each ends with its row.
    first = begins.view(-1).nonzero().view(-1)
    end = torch.full((1,), rows.numel(), dtype=first.dtype, device=first.device)
    lengths = first.diff(append=end)
    twice = (first % count).mul_(2).add_(lengths).sub_(1)
    places = twice.repeat_interleave(lengths, output_size=rows.numel()).view(rows.shape)
    return torch.empty_like(positions).scatter_(1, positions, places)


def _sorted(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row in ascending order, and where its values were; equal values in any order."""
    if rows.device.type != "cpu":
        found = rows.sort(dim=1)
        return found.values, found.indices
    # NumPy's sort is several times faster than torch's stable one on one thread.
    positions = np.argsort(rows.numpy(), axis=1)
    values = np.take_along_axis(rows.numpy(), positions, axis=1)
    return torch.from_numpy(values), torch.from_numpy(positions)
