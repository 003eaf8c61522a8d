"""What the vLLM engine and its process say to each other; all of it pickles.

Knows nothing of vLLM but its limits.
"""

from dataclasses import dataclass
from pathlib import Path

from adamms.data.example import Example
from adamms.engines.answer import Token
from adamms.errors import AdammsError, check_choice
from adamms.merge.sources import CACHES

DTYPES = ("auto", "float32", "bfloat16", "float16")
MOST_LOGPROBS = 20  # vLLM's own limit


@dataclass(frozen=True)
class Settings:
    """What the process needs to know to start vLLM; the fields are those of `VllmEngine`.

    Raises:
        AdammsError: a value that is out of range.
    """

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

    def __post_init__(self) -> None:
        check_choice("engine.dtype", self.dtype, DTYPES)
        check_choice("engine.source_cache", self.source_cache, CACHES)
        check_counts(
            max_new_tokens=self.max_new_tokens,
            max_model_len=1 if self.max_model_len is None else self.max_model_len,
            tensor_parallel_size=self.tensor_parallel_size,
            images_per_prompt=self.images_per_prompt,
            encoder_cache_tokens=self.encoder_cache_tokens,
        )
        share = self.gpu_memory_utilization
        if not 0 < share <= 1:
            raise AdammsError(f"engine.gpu_memory_utilization is {share}; expected (0, 1]")
        if not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise AdammsError(
                f"engine.logprobs is {self.logprobs}; expected 0 to {MOST_LOGPROBS}, vLLM's limit"
            )


def check_counts(**values: int) -> None:
    """Raise AdammsError for an `engine.NAME` that is less than 1."""
    for name, value in values.items():
        if value < 1:
            raise AdammsError(f"engine.{name} is {value}; it must be at least 1")


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
