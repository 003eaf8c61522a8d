"""What an engine is: one live model whose merged weights are replaced in place between candidates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.merge.recipe import Recipe


@dataclass(frozen=True)
class PromptFiles:
    """What prompts are built with where it is not to be the checkpoint folder's own.

    Args:
        tokenizer: a folder with a tokenizer; None for the checkpoint's.
        chat_template: the path of a Jinja file, or the name of one of the model's templates; None for the
            model's default.
    """

    tokenizer: Path | None = None
    chat_template: str | None = None


class Engine(Protocol):
    """Generates answers with one model, named by its folder.

    Making an engine checks its settings and loads nothing: the model starts with the first `load` or
    `generate`. Leaving the context frees it, also on error.
    """

    @property
    def identity(self) -> str:
        """Everything beside weights and inputs that decides the answers: engine, version, settings."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def load(self, recipe: Recipe) -> None:
        """Put the recipe's merged tensors into the live model, in place.

        The recipe's target must be the model that the engine was made from: tensors that the plan
        keeps are not touched.
        """
        ...

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        """(example id, answer) as answers are done, greedy and deterministic, each example once."""
        ...
