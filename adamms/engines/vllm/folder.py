"""What vLLM has to be told about the model in a folder: its dtype, and how prompts mark an image."""

from collections import Counter
from pathlib import Path
from typing import Any

from adamms.checkpoint.reader import open_checkpoint
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


def dtype_of(folder: Path) -> str:
    """The dtype that most of a checkpoint's parameters have, in vLLM's words."""
    sizes: Counter[str] = Counter()
    for entry in open_checkpoint(folder).tensors.values():
        sizes[entry.dtype] += entry.elements
    dtype = sizes.most_common(1)[0][0]
    if dtype not in DTYPE_WORDS:
        raise AdammsError(f"{folder}: vLLM does not run {dtype} weights; set engine.dtype")
    return DTYPE_WORDS[dtype]
