"""Which models take part in a merge: those with a share. Knows nothing of what is made of them."""

import torch

from adamms.merge.method import Chunk


def sharing(chunk: Chunk) -> dict[str, float]:
    """The share of each model that has one, in the order target, donors."""
    return {name: share for name, share in chunk.shares.items() if share > 0}


def sharing_vectors(chunk: Chunk) -> dict[str, torch.Tensor]:
    """The task vectors of the models that have a share; overwrites the values of all."""
    vectors = chunk.task_vectors()
    return {name: vectors[name] for name in sharing(chunk)}
