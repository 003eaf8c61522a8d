"""A tiny model of any type that transformers knows, without adamms.

Weights are drawn by the seed and the name within the text backbone: models of two types with the same names
and shapes there and the same seed have the same ancestor.
"""

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_configs import tiny_config
from torch import nn

NOISE = 0.1  # on a weight, as a share of its tensor's deviation


def multimodal_types() -> dict[str, str]:
    """Model type -> class, of all that take an image, a sound or a video and answer in text."""
    from transformers.models.auto import modeling_auto as auto

    mappings = (
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    )
    return {kind: name for mapping in mappings for kind, name in mapping.items()}


def class_of(model_type: str) -> type:
    """The class that answers: of a multimodal type, or the causal LM of a text type."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    known = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES | multimodal_types()
    return getattr(transformers, known[model_type])


def text_backbone(model: Any) -> tuple[str, nn.Module]:
    """The innermost model that holds the input embeddings and a stack of layers, and its name."""
    from transformers import PreTrainedModel

    models = [(name, each) for name, each in model.named_modules() if isinstance(each, PreTrainedModel)]
    for name, part in models:  # the model itself, or the first part of it that has embeddings
        try:
            embeddings = part.get_input_embeddings()
        except NotImplementedError:
            continue
        holders = [
            (inner, each)
            for inner, each in models
            if inner.startswith(name) and any(module is embeddings for module in each.modules())
        ]
        stacks = [item for item in holders if any(isinstance(c, nn.ModuleList) for c in item[1].children())]
        return (stacks or holders)[-1]
    return "", model


def build(model_type: str, seed: int = 0, noise: int | None = None, **text: object) -> Any:
    """The model: weights of an ancestor drawn by `seed`, with a little noise around them drawn by `noise`."""
    torch.manual_seed(seed)
    model = class_of(model_type)(tiny_config(model_type, **text)).eval()
    roles = text_roles(model)
    with torch.no_grad():
        for name, tensor in itertools.chain(model.named_parameters(), _saved_buffers(model)):
            limit = not isinstance(tensor, nn.Parameter) and not tensor.isfinite().all()
            if not tensor.is_floating_point() or limit:
                continue
            role = roles.get(name, name)
            _draw(tensor, role, seed)
            if noise is not None:
                spread = tensor.std() if tensor.numel() > 1 else tensor.abs()
                tensor.add_(NOISE * spread * torch.randn(tensor.shape, generator=_generator(noise, role)))
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    return model


def save_tiny(model_type: str, folder: Path, seed: int = 0, noise: int | None = None, **text: object) -> Path:
    """What `build` makes, as transformers saves it."""
    return save(build(model_type, seed, noise, **text), folder)


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    if model.config.model_type == "qwen2_5_omni":  # its voices, without which it does not load
        torch.save({}, folder / "spk_dict.pt")
    return folder


def text_roles(model: Any) -> dict[str, str]:
    """Parameter or buffer -> its name within the text backbone; that of the head begins with `head.`."""
    from transformers import PreTrainedModel

    prefix, backbone = text_backbone(model)
    roles = {f"{prefix}.{name}".lstrip("."): name for name in backbone.state_dict()}
    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, PreTrainedModel)]
    heads = [part.get_output_embeddings() for _, part in parts]
    head = next((each for each in heads if each is not None), None)
    wholes = [(name, part) for name, part in parts if {head, backbone} <= {*part.modules()}]
    for place, whole in wholes[-1:]:
        for child, module in whole.named_children():
            if head in {*module.modules()} and module is not backbone:
                names = (f"{place}.{child}.{name}".lstrip(".") for name in module.state_dict())
                roles |= {name: f"head.{name.rpartition(child)[2]}" for name in names}
    return roles


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    saved = model.state_dict()
    return ((name, buffer) for name, buffer in model.named_buffers() if name in saved)


def _draw(tensor: torch.Tensor, role: str, seed: int) -> None:
    values = 0.1 * torch.randn(tensor.shape, generator=_generator(seed, role))
    if not isinstance(tensor, nn.Parameter):  # among them variances, which are positive
        tensor.copy_(tensor + values.abs())
    elif tensor.dim() < 2 and tensor.numel() and (tensor == tensor.flatten()[0]).all():
        tensor.add_(values)  # norms are around one, biases around zero
    else:
        tensor.copy_(values)


def _generator(seed: int, role: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {role}".encode()))


def relayout_experts(folder: Path, fused: bool, transposed: bool = False) -> Path:
    """Write the experts of a saved model as hub files have them: one tensor each, or all in one.

    In one: gate_up_proj [experts, 2 x width, hidden] and down_proj [experts, hidden, width], gate first;
    `transposed` exchanges the last two dimensions.
    """
    file = folder / "model.safetensors"
    state = load_file(file)
    each: dict[str, dict[str, torch.Tensor]] = {}
    for name in [name for name in state if ".experts." in name]:
        place, part = name.split(".experts.")
        tensors = each.setdefault(place, {})
        tensor = state.pop(name)
        if part == "gate_up_proj":
            for e, rows in enumerate(tensor):
                tensors[f"{e}.gate"], tensors[f"{e}.up"] = rows.chunk(2)
        elif part == "down_proj":
            tensors |= {f"{e}.down": rows for e, rows in enumerate(tensor)}
        else:
            tensors[part.removesuffix("_proj.weight")] = tensor
    for place, tensors in each.items():
        if not fused:
            state |= {f"{place}.experts.{part}_proj.weight": tensor for part, tensor in tensors.items()}
            continue
        count = len(tensors) // 3
        up = torch.stack([torch.cat([tensors[f"{e}.gate"], tensors[f"{e}.up"]]) for e in range(count)])
        down = torch.stack([tensors[f"{e}.down"] for e in range(count)])
        for part, tensor in (("gate_up_proj", up), ("down_proj", down)):
            state[f"{place}.experts.{part}"] = tensor.transpose(1, 2) if transposed else tensor
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file, metadata={"format": "pt"})
    return folder
