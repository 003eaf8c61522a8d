"""Which models take part in a merge: those with a share. Knows nothing of what is made of them."""

import torch

from adamms.merge.method import Chunk

# Shares are differences of rounded numbers; a model with less than this has none.
LEAST_SHARE = 1e-9


def sharing(chunk: Chunk) -> dict[str, float]:
    """The share of each model that has one, in the order target, donors."""
    return {name: share for name, share in chunk.shares.items() if share > LEAST_SHARE}


def sharing_vectors(chunk: Chunk) -> dict[str, torch.Tensor]:
    """The task vectors of the models that have a share; overwrites the values of all."""
    vectors = chunk.task_vectors()
    return {name: vectors[name] for name in sharing(chunk)}
