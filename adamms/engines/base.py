"""What an engine is, and what a configuration can name as one. Knows nothing of search.

No library that generates is imported here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

from annotated_types import Ge, MinLen
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


@dataclass(frozen=True)
class Limits:
    """What a prompt may have, and what of a video a model sees.

    Args:
        images, videos: how many; 0 for a model that takes none, None where no limit is known.
        frames: of a video, as `EngineSettings.video_frames`.
        why: there may be no more images; "" where a setting says so.
    """

    images: int | None = None
    videos: int | None = None
    frames: int | None = None
    why: str = ""


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

    @property
    def sampling(self) -> str:
        """What decides which frames of a video are seen: for the store, beside the identity."""
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
        video_frames: how many frames of a video a model sees at most; None: as its processor samples.
    """

    name: ClassVar[str]  # the option of the group, e.g. engine=vllm

    batch_size: PositiveInt
    max_new_tokens: PositiveInt
    logprobs: NonNegativeInt
    stop: tuple[Annotated[str, MinLen(1)], ...]
    verify_swaps: bool
    video_frames: Annotated[int, Ge(2)] | None  # processors take them in pairs

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

    def limits(self, processor: Any) -> Limits:
        """What a prompt for the model of this processor may have, as far as the engine can tell."""
        return Limits(frames=self.video_frames)

    def limits_of(self, config: Mapping[str, Any], processor: Any) -> Limits:
        """The same for the model of this config.json, too: nothing for a language model alone."""
        own = self.limits(processor)
        if is_text_only(config):
            return replace(own, images=0, videos=0)
        takes = getattr(processor, "video_processor", None) is not None
        return own if takes else replace(own, videos=0)

    @property
    def sampling(self) -> str:
        """As of an engine."""
        return f"{self.video_frames} frames"
