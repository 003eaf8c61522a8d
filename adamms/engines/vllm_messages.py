"""What the vLLM engine and its process say to each other; all of it pickles. Knows nothing of vLLM."""

from dataclasses import dataclass
from pathlib import Path

from adamms.data.example import Example
from adamms.engines.answer import Token


@dataclass(frozen=True)
class Settings:
    """What the process needs to know to start vLLM; the fields are those of `VllmEngine`."""

    folder: Path
    dtype: str
    max_new_tokens: int
    stop: tuple[str, ...]
    max_model_len: int | None
    gpu_memory_utilization: float
    tensor_parallel_size: int
    images_per_prompt: int
    encoder_cache_tokens: int
    trust_remote_code: bool
    source_cache: str
    enforce_eager: bool | None
    batch_invariant: bool
    seed: int
    logprobs: int


@dataclass(frozen=True)
class Load:
    """Put a recipe's merged tensors into the model; the recipe as pickled bytes."""

    recipe: bytes


@dataclass(frozen=True)
class Ask:
    """Answer these examples: an `Answer` for each, in any order, then `Done`."""

    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Answer:
    """The answer to one example: its text and the ids of the generated tokens, special ones included.

    `logprobs` has an entry for each token where they were asked for.
    """

    example: str
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Done:
    """A request is finished; how many images have gone through the vision encoder since the start."""

    images_encoded: int


@dataclass(frozen=True)
class Refusal:
    """An example that cannot be asked, and why; the engine is as good as before."""

    reason: str


@dataclass(frozen=True)
class Failure:
    """The engine has failed, and why; `explained` if the log says no more than the reason."""

    reason: str
    explained: bool
