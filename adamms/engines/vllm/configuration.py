"""vLLM's own configuration of an engine, made from the settings of `engine=vllm`. Called, it imports vLLM."""

from pathlib import Path
from typing import Any

from adamms.checkpoint.adapters.tying import is_head
from adamms.checkpoint.reader import open_checkpoint
from adamms.engines.vllm.engine import Vllm
from adamms.engines.vllm.folder import dtype_of

# vLLM normalises videos with the mean and deviation of images, whatever those of the video processor are.
AS_PROCESSED = {"mm_device_do_normalize": False}


def config_of(folder: Path, settings: Vllm, on_cpu: bool) -> Any:
    """The configuration of an engine on the model in `folder`, with what vLLM has no argument for."""
    from vllm import EngineArgs
    from vllm.config import WeightTransferConfig

    from adamms.engines.vllm.worker import BACKEND

    # What vLLM measures its memory with is no longer than what it will see.
    longest = {"num_frames": settings.video_frames} if settings.video_frames else {}
    videos = {"count": settings.videos_per_prompt} | longest if settings.videos_per_prompt else 0
    # Without compilation vLLM 0.32 makes no tensors to pass on between the stages of a pipeline on CPUs.
    eager = on_cpu and settings.pipeline_parallel_size == 1
    arguments = EngineArgs(
        model=str(folder),
        dtype=dtype_of(folder) if settings.dtype == "auto" else settings.dtype,
        max_model_len=settings.max_model_len,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        trust_remote_code=settings.trust_remote_code,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        enable_expert_parallel=settings.expert_parallel,
        distributed_executor_backend=settings.distributed_executor_backend,
        limit_mm_per_prompt={"image": settings.images_per_prompt, "video": videos},
        **(AS_PROCESSED if videos and AS_PROCESSED.keys() <= EngineArgs.__dataclass_fields__.keys() else {}),
        skip_mm_profiling=on_cpu,
        enforce_eager=eager if settings.enforce_eager is None else settings.enforce_eager,
        seed=settings.seed,
        disable_log_stats=True,
        hf_overrides=untied if any(map(is_head, open_checkpoint(folder).tensors)) else {},
        worker_extension_cls="adamms.engines.vllm.worker.WorkerExtension",
        weight_transfer_config=WeightTransferConfig(backend=BACKEND),
    )
    config = arguments.create_engine_config()
    if on_cpu and config.model_config.use_mla:
        # vLLM 0.32's rotary kernel for CPUs turns the queries of latent attention wrongly.
        config.compilation_config.custom_ops.append("-rotary_embedding")
    # vLLM has no argument for it: it takes the size of a batch, which a search's images exceed.
    scheduler = config.scheduler_config
    scheduler.encoder_cache_size = max(scheduler.encoder_cache_size, settings.encoder_cache_tokens)
    return config


def untied(config: Any) -> Any:
    """A head that the files hold stays one of its own, as in the merged model, where it may differ.

    vLLM 0.32 makes it and the embeddings one where they are alike when it starts.
    """
    config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    return config
