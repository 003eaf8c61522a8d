"""DARE with a linear merge: drop entries of the task vectors at random, rescale the rest.

    tau'_m = tau_m / density with probability density, else 0      m = target and donors
    theta  = theta_ancestor + scaling * sum_m w_m * tau'_m         w: 1 - sum of alpha, and alpha_m

Source: Yu et al., "Language models are super Mario" (arXiv:2311.03099), section 3; density is 1 - p there.

AdaMMS' scripts take the mean: alpha 0.5 with one donor, and scaling 1. They set no seed, and their K above 1
means percent. In mergekit's `dare_linear`, `weight` is scaling times the share, and what is kept is
rescaled to the sum of magnitudes of all, not by 1 / density. Here, whether an entry is
kept depends only on the seed, the tensor's name in the target, the position there, and whose entry it is.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import FiniteFloat

from adamms.merge.election import weighted_sum
from adamms.merge.exactness import divide_
from adamms.merge.method import Chunk, Densities, Method, of_model
from adamms.merge.randomness import kept


@dataclass(frozen=True)
class DareLinear(Method):
    """Drop at random, rescale, add.

    Args:
        density: the probability that an entry is kept; or model -> its own, and of others all are.
        scaling: factor of the merged task vector.
        seed: of the random numbers.
    """

    density: Densities
    scaling: FiniteFloat
    seed: int

    name: ClassVar[str] = "dare_linear"
    formula: ClassVar[str] = "ancestor + scaling * sum of share * thinned (model - ancestor) / density"
    elementwise: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...]] = ("density", "scaling")

    def merge(self, chunk: Chunk) -> torch.Tensor:
        merged = weighted_sum(thinned(chunk, self.density, self.seed), chunk.shares)
        return merged.mul_(self.scaling).add_(chunk.base())


def thinned(chunk: Chunk, density: Densities, seed: int) -> dict[str, torch.Tensor]:
    """The task vectors with each entry kept with probability `density` and divided by it."""
    vectors = chunk.task_vectors()
    for name, vector in vectors.items():
        if (own := of_model(density, name)) < 1:
            stays = kept(own, seed, chunk.slot, name, chunk.start, vector)
            divide_(vector, own).mul_(stays)
    return vectors
