"""What an engine is: one live model whose merged weights are replaced in place between candidates."""

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from adamms.data.example import Example
from adamms.merge.recipe import Recipe

Advance = Callable[[int], None]


class Engine(Protocol):
    """Generates answers. Made from the folder of the model that it runs; leaving it frees the model."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def load(self, recipe: Recipe) -> None:
        """Put the recipe's merged tensors into the live model, in place.

        The recipe's target must be the model that the engine was made from: tensors that the plan
        keeps are not touched.
        """
        ...

    def generate(self, examples: Sequence[Example], advance: Advance = lambda _: None) -> dict[str, str]:
        """Example id -> answer, greedy and deterministic; `advance` hears of examples as they end."""
        ...
