"""What vLLM has to be told about the model in a folder, or says of it: dtype, marks of images, limits."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adamms.checkpoint.reader import open_checkpoint
from adamms.engines.vllm.engine import Vllm
from adamms.errors import AdammsError

DTYPE_WORDS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def image_mark(processor: Any, model_config: Any) -> str | None:
    """What stands for an image in a prompt, as in vLLM's chat server; None if the chat template says it."""
    from vllm.model_executor.model_loader import get_model_cls

    from adamms.engines.prompt import reads_parts

    if reads_parts(processor):
        return None
    kind = get_model_cls(model_config)
    if not hasattr(kind, "get_placeholder_str"):  # a model of text alone
        return ""
    mark: str = kind.get_placeholder_str("image", 1)
    return mark


def supported(model_config: Any) -> Mapping[str, int | None]:
    """Kind -> how many of it vLLM takes in a prompt for a model; None for no limit."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    limits: Mapping[str, int | None] = MULTIMODAL_REGISTRY.create_processor(
        model_config
    ).info.supported_mm_limits
    return limits


def check_limits(folder: Path, settings: Vllm, supported: Callable[[], Mapping[str, int | None]]) -> None:
    """Raise AdammsError if a prompt may have more, by the settings, than vLLM takes for the model.

    One image is no wish: it may be a model of text alone. Without a wish vLLM is not asked, which makes a
    processor.
    """
    for kind, wanted, free in (
        ("image", settings.images_per_prompt, 1),
        ("video", settings.videos_per_prompt, 0),
    ):
        if wanted <= free:
            continue
        most = supported().get(kind, 0)
        if most is not None and wanted > most:
            raise AdammsError(
                f"{folder}: engine.{kind}s_per_prompt is {wanted}; vLLM takes {most} with this model"
            )


def dtype_of(folder: Path) -> str:
    """The dtype that most of a checkpoint's parameters have, in vLLM's words."""
    sizes: Counter[str] = Counter()
    for entry in open_checkpoint(folder).tensors.values():
        sizes[entry.dtype] += entry.elements
    dtype = sizes.most_common(1)[0][0]
    if dtype not in DTYPE_WORDS:
        raise AdammsError(f"{folder}: vLLM does not run {dtype} weights; set engine.dtype")
    return DTYPE_WORDS[dtype]
