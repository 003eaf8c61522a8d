"""A recipe that loses or spoils a tensor on its way into an engine; it pickles, so that vLLM gets it too."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch

from adamms.merge.recipe import Recipe


@dataclass(frozen=True)
class FaultyRecipe(Recipe):
    """As the recipe that it is made from by `faulty`, but for one thing.

    Args:
        ending: of the names of the tensors that are hit.
        drop: they are lost; otherwise a value of each is another one.
        back: only on the way back to the target.
        rank: only there; None for all ranks.
    """

    ending: str = ""
    drop: bool = False
    back: bool = False
    rank: int | None = None

    def tensors(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.Tensor]]:
        here = self.rank is None or self.rank == torch.distributed.get_rank()
        acts = here and not (self.back and self.changes)
        for name, tensor in super().tensors(*args, **kwargs):
            if not (acts and name.endswith(self.ending)):
                yield name, tensor
            elif not self.drop:
                spoilt = tensor.clone()
                spoilt.view(-1)[0] += 1
                yield name, spoilt


def faulty(recipe: Recipe, **fault: Any) -> FaultyRecipe:
    """The recipe with a fault; what it may be is said by `FaultyRecipe`."""
    return FaultyRecipe(**{f.name: getattr(recipe, f.name) for f in fields(recipe) if f.init}, **fault)
