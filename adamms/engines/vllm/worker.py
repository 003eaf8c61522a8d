"""What vLLM's workers do for a candidate: merge, and write the result into the live model.

Runs in every worker process of vLLM. Knows nothing of requests.
"""

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from vllm.config import set_current_vllm_config
from vllm.model_executor.model_loader.reload.inplace import reload_weights

from adamms.engines.checksum import checksums_of
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe
from adamms.merge.sources import Sources

RELOAD_LOGGERS = (reload_weights.__module__, reload_weights.__module__.replace("inplace", "layerwise"))
# vLLM's class -> {name in the file: the name that a reload expects}. Phi-3-vision's two embeddings are one
# parameter. The first load takes either name; from then on vLLM skips the second and misses the first.
TIED = {"Phi3VForCausalLM": {"model.embed_tokens.weight": "model.vision_embed_tokens.wte.weight"}}
# vLLM's class -> a tensor whose block its loader insists on: Molmo2's joins two tensors to one of embeddings.
NEEDED = {"Molmo2ForConditionalGeneration": "model.transformer.wte.embedding"}

PROBES = 16  # inputs that stand for a weight which cannot be read
# Where vLLM's layers keep how wide their inputs are: sharded, replicated, the head.
INPUT_SIZES = ("input_size_per_partition", "input_size", "embedding_dim")


class WorkerExtension:
    """vLLM mixes it into its worker class, whose `model_runner`, `vllm_config` and `device` it uses.

    The tensors go through vLLM's own weight loader under the checkpoint's names. So vLLM does the fusing, the
    sharding over devices and the repacking.
    """

    model_runner: Any
    vllm_config: Any
    device: torch.device | None

    def adamms_begin(self, source_cache: str) -> None:
        """Get ready for candidates and start counting encoded images; vLLM's own profiling does not count."""
        if not torch.backends.cuda.is_built():
            # vLLM 0.32 asks before each image of a MiniCPM-V; a torch without CUDA would raise.
            torch.cuda.is_current_stream_capturing = lambda: False
        self.adamms_sources = Sources(self.device or torch.device("cpu"), source_cache)
        self.adamms_written: set[str] = set()
        self.adamms_encoded = 0
        model = self.model_runner.get_model()
        encode = getattr(model, "embed_multimodal", None)
        if encode is None:  # a model of text alone
            return

        def counted(**inputs: object) -> Any:
            embeddings = encode(**inputs)  # one item per image
            self.adamms_encoded += len(embeddings)
            return embeddings

        model.embed_multimodal = counted

    def adamms_encoded_images(self) -> int:
        """How many images have gone through the vision encoder, each time counted."""
        return self.adamms_encoded

    @torch.inference_mode()
    def adamms_checksums(self) -> dict[str, str]:
        """Parameter or buffer -> a checksum of its live values on this worker."""
        return checksums(self.model_runner.get_model())

    @torch.inference_mode()
    def adamms_load(self, pickled: bytes) -> bool:
        """Put the recipe's merged tensors into the live model, in place.

        Returns:
            Whether tensors outside the decoder LM changed, so that encoder outputs are stale.
        """
        recipe: Recipe = pickle.loads(pickled)
        merged = set(recipe.mapped)
        sources, model = self.adamms_sources, self.model_runner.get_model()
        needed = {NEEDED[kind]} if (kind := type(model).__name__) in NEEDED else set()
        names = with_siblings(merged | self.adamms_written | needed, recipe.target.tensors)
        tied = TIED.get(type(model).__name__, {})
        renamed = {old: new for old, new in tied.items() if new not in recipe.target.tensors}
        workers = None if sources.device.type == "cpu" else 1
        tensors = recipe.tensors(names=names, workers=workers, sources=sources)
        if sources.device.type == "cpu":
            _pack_experts_again(model)
        with set_current_vllm_config(self.vllm_config), quiet(RELOAD_LOGGERS):
            reload_weights(
                self.vllm_config,
                model,
                weights_iterator=((renamed.get(name, name), tensor) for name, tensor in tensors),
                weights_path=None,
                is_checkpoint_format=True,
            )
        changed, self.adamms_written = merged | self.adamms_written, merged
        return any(slot.name in changed and not slot.role for slot in recipe.plan.slots)


def checksums(model: torch.nn.Module) -> dict[str, str]:
    """Name -> checksum, of all parameters and buffers.

    For CPUs vLLM repacks weights, keeps them out of sight and leaves an empty parameter. There the checksum
    is one of the layer's outputs for a few fixed random inputs.
    """
    found: dict[str, str] = {}
    for path, layer in model.named_modules():
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            if tensor is not None:
                packed = name == "weight" and tensor.numel() == 0 and tensor.device.type == "cpu"
                found |= checksums_of(f"{path}.{name}", _response(layer) if packed else tensor)
    return found


def _response(layer: Any) -> torch.Tensor:
    """What a linear layer makes of a few fixed random inputs, without its bias."""
    width = next(getattr(layer, size) for size in INPUT_SIZES if hasattr(layer, size))
    inputs = torch.randn(PROBES, width, generator=torch.Generator().manual_seed(0)).to(layer.weight.dtype)
    outputs: torch.Tensor = layer.quant_method.apply(layer, inputs, None)
    return outputs


def with_siblings(names: set[str], known: Any) -> list[str]:
    """`names`, and the tensors of `known` that vLLM may fuse with one of them into one parameter.

    vLLM fuses neighbours (q, k, v; gate, up; weight, bias; all experts) and must reload a fused layer as
    a whole. So a tensor travels with all that share its parent's parent, an expert with all of its layer.
    """
    if missing := sorted(names - set(known)):
        raise AdammsError(f"the live model has no tensor {missing[0]!r}")
    blocks = {_block(name) for name in names}
    return [name for name in known if _block(name) in blocks]


def _block(name: str) -> tuple[str, ...]:
    """('0', 'mlp') of '0.mlp.up_proj.weight', and of '0.mlp.experts.7.up_proj.weight'."""
    path = name.split(".")
    return tuple(path[: path.index("experts")] if "experts" in path else path[:-2])


def _pack_experts_again(model: Any) -> None:
    """Have vLLM lay out experts for its CPU kernel when it has reloaded them.

    vLLM 0.32 does so only while it makes that kernel, and leaves later weights as they are in the file.
    """
    for layer in model.modules():
        method: Any = getattr(layer, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


@contextmanager
def quiet(loggers: tuple[str, ...]) -> Iterator[None]:
    """Silence the warnings of these loggers: vLLM warns of every layer that it is not given."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
