"""What vLLM's workers can be asked beside what they do for weight transfer; in every worker process of vLLM.

Loading this module makes `RecipeTransfer` known there, before vLLM makes the model.
"""

from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngineFactory

from adamms.engines.checksum import checksums_of
from adamms.engines.vllm.messages import Swap
from adamms.engines.vllm.transfer import RecipeTransfer

BACKEND = "adamms"  # of a WeightTransferConfig
PROBES = 16  # inputs that stand for a weight which cannot be read
# Where vLLM's layers keep how wide their inputs are: sharded, replicated, the head.
INPUT_SIZES = ("input_size_per_partition", "input_size", "embedding_dim")

WeightTransferEngineFactory.register_engine(BACKEND, RecipeTransfer)


class WorkerExtension:
    """vLLM mixes it into its worker class, whose `model_runner` and `weight_transfer_engine` it uses."""

    model_runner: Any
    weight_transfer_engine: RecipeTransfer

    def adamms_begin(self) -> None:
        """Start counting encoded images; vLLM's own profiling does not count."""
        if not torch.backends.cuda.is_built():
            # vLLM 0.32 asks before each image of a MiniCPM-V; a torch without CUDA would raise.
            torch.cuda.is_current_stream_capturing = lambda: False
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

    def adamms_swap(self) -> Swap:
        """What the last update did on this worker."""
        return self.weight_transfer_engine.swap

    def adamms_learn(self) -> None:
        """Of the last update nothing was lost: what this worker's loader read of it is what it keeps."""
        self.weight_transfer_engine.learn()


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
