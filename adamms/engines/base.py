"""What an engine is, and what a configuration can name as one. Knows nothing of search.

No library that generates is imported here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

from annotated_types import MinLen
from pydantic import NonNegativeInt, PositiveInt

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe
from adamms.models.registration import is_text_only

NO_END = (
    "the model names no token that ends an answer (eos_token_id of generation_config.json), so texts cannot "
    "be scored; search=trusted does without with search.signal.weights.likelihood=0"
)


@dataclass(frozen=True)
class PromptFiles:
    """Tokenizer and chat template for models whose folder lacks them, or has others.

    Args:
        tokenizer: a folder with a tokenizer; None for the checkpoint's.
        chat_template: the path of a Jinja file, or the name of one of the model's templates; None for the
            model's default.
    """

    tokenizer: Path | None = None
    chat_template: str | None = None


class UnprovenError(AdammsError):
    """What a live model holds is not what it should hold."""


class Engine(Protocol):
    """Generates answers with one live model, whose merged weights are replaced in place.

    Making an engine loads nothing: the model starts with the first `load` or `generate`. Leaving the
    context frees it, also after an error.

        with settings.live(folder) as engine:
            for recipe in recipes:
                engine.load(recipe)
                answers = dict(engine.generate(examples))
    """

    @property
    def identity(self) -> str:
        """Everything beside weights and inputs that decides the answers: engine, versions, settings."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def load(self, recipe: Recipe) -> None:
        """Put the recipe's merged tensors into the live model, in place.

        The recipe's target must be the model that the engine was made from: tensors that the plan keeps
        are not touched.

        Raises:
            AdammsError: among others, a merged tensor that the live model does not take.
        """
        ...

    def checksums(self) -> Mapping[str, str]:
        """What the live model holds now: name of a tensor -> its checksum (`checksum.checksums_of`).

        The names are those of the files, or the engine's own with copy and rank before them: '0.1 NAME'. Of
        an engine that says none, swaps are not proven.

        Raises:
            UnprovenError: the live model does not use what candidates are written into.
        """
        return {}

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        """(example id, answer) as answers are done, greedy and deterministic, each example once."""
        ...

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        """(place in `said`, answer) as scores are done: how probable the live model finds each text.

        The answer has the text, and the log-probabilities (natural logarithm) of its tokens and of its end,
        each after the example's prompt and the tokens before it. A text is tokenised as what follows the
        prompt (`engines.prompt.Following`), and its end is the likeliest of the tokens that end an answer.
        For what the model itself has answered these are the log-probabilities of `generate`, up to the order
        of sums, but for two cases: a text whose tokens are not those that were generated, which is another
        way to write it, and an answer that was cut or that a text of `stop` ended, which has no such end.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EngineSettings(ABC):
    """What a configuration can name as an engine: settings without a model. `live` adds the model.

    Args:
        batch_size: examples that are answered together.
        max_new_tokens: where an answer is cut off at the latest.
        logprobs: how many of the likeliest tokens are kept, with their log-probabilities, at every position
            of an answer; 0 for none.
        stop: texts before which an answer ends.
        verify_swaps: whether candidates are proven to have come in and gone again: see `swaps`.
    """

    name: ClassVar[str]  # the option of the group, e.g. engine=vllm

    batch_size: PositiveInt
    max_new_tokens: PositiveInt
    logprobs: NonNegativeInt
    stop: tuple[Annotated[str, MinLen(1)], ...]
    verify_swaps: bool

    @abstractmethod
    def live(self, folder: Path, prompt_files: PromptFiles | None = None) -> Engine:
        """An engine with the model in `folder`, not started.

        Args:
            folder: a checkpoint folder with model, tokenizer, processor and chat template.
            prompt_files: what is taken instead of the folder's own tokenizer and template; None: neither.

        Raises:
            AdammsError: the engine is not installed, or cannot run this model, or not with these files.
        """

    @abstractmethod
    def processor(self, folder: Path, prompt_files: PromptFiles | None = None) -> Any:
        """The processor that prompts and inputs are made with; reads no weight.

        Args: as of `live`.

        Raises:
            AdammsError: there is none in the folder, or it cannot be loaded.
        """

    def check_scores(self, folder: Path) -> None:  # noqa: B027  (most engines score with any model)
        """Raise AdammsError if the engine cannot score texts with the model in `folder`, before it starts."""

    def most_images(self, processor: Any) -> int | None:
        """How many images a prompt for the model of this processor may have, as far as the engine can tell.

        Returns:
            0 for a model that takes none; None where no limit is known.
        """
        return None

    def most_images_of(self, config: Mapping[str, Any], processor: Any) -> int | None:
        """The same for the model of this config.json, too: 0 for a language model alone."""
        return 0 if is_text_only(config) else self.most_images(processor)
