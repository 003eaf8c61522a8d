"""A tiny model of any type that transformers knows, from its default configuration, without adamms.

Sizes shrink by the names of the keys. Weights are drawn by the seed and the name within the text backbone:
models of two types with the same names and shapes there and the same seed have the same ancestor.
"""

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

HIDDEN, HEADS, KEY_VALUE_HEADS, HEAD_DIM = 128, 4, 2, 32  # the least that vLLM computes with
LAYERS = 4  # so that hybrid patterns, dense and sparse layers all occur
WIDTH = 64  # of everything that is not the language model
VOCABULARY = 320
NOISE = 0.1  # on a weight, as a share of its tensor's deviation

# A key's value in the language model, and elsewhere, by the first expression that matches the whole key.
_SIZES: tuple[tuple[str, int, int], ...] = (
    (r"out_hidden_size|output_dim|text_hidden_size|(thinker_|encoder_)hidden_size", HIDDEN, HIDDEN),
    (r"hidden_size|d_model|embed_dim|n_embd|dim|hidden_dim|embedding_size", HIDDEN, WIDTH),
    (r"moe_intermediate_size|shared_expert_intermediate_size|share_expert_dim", 48, 48),
    (r".*intermediate_size.*|.*ffn_dim|mlp_dim|d_ff|projector_hidden_size", 96, 96),
    (r".*num_hidden_layers|.*_layers|depth|layers", LAYERS, 2),
    (r"num_key_value_heads|.*num_key_value_heads", KEY_VALUE_HEADS, 2),
    (r".*attention_heads|num_heads|n_heads|index_n_heads", HEADS, 2),
    (r"head_dim|kv_channels|d_kv", HEAD_DIM, WIDTH // 2),
    (r"q_lora_rank", 24, 24),
    (r"kv_lora_rank", 32, 32),
    (r"qk_(nope|rope)_head_dim", 16, 16),
    (r"v_head_dim", 24, 24),
    (r"num_experts|n_routed_experts|num_local_experts|moe_num_experts", 4, 4),
    (r"num_experts_per_tok|moe_k|moe_topk|top_k_experts", 2, 2),
    (r"n_group|topk_group|n_shared_experts|first_k_dense_replace", 1, 1),
    (r".*vocab_size.*", VOCABULARY, VOCABULARY),
    (r"max_.*position.*|max_(source|target)_positions", 128, 128),
    (r"image_size", 32, 32),
    (r"patch_size", 16, 16),
)


_LEFT_OUT = ("transformers_version", "architectures", "id2label", "label2id", "per_layer_config")
_TOKEN = re.compile(r".*_(token|tokens)_(id|ids|index)|(im|codec)_\w+_id")
_INDEXES = re.compile(r".*_(indexes|indices|idxs|layers)")

# What the default configuration does not say, or shrinks wrongly: type -> path of a key -> value.
_OTHERWISE: dict[str, dict[str, Any]] = {}


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
    return getattr(transformers, known[model_type])  # type: ignore[no-any-return]


def tiny_config(model_type: str, **text: object) -> Any:
    """The default configuration, shrunk. `text`: settings of the language model that are to be others."""
    from transformers import CONFIG_MAPPING

    default = CONFIG_MAPPING[model_type]().to_dict()
    tokens = sorted(_token_keys(default))
    shrunk = _shrunk(default, {key: 1 + index for index, key in enumerate(tokens)}, text_part=True)
    _override(shrunk, _OTHERWISE.get(model_type, {}))
    shrunk.get("text_config", shrunk).update(text)
    return CONFIG_MAPPING[model_type](**shrunk)


def _token_keys(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if key in _LEFT_OUT or not isinstance(key, str):
            continue
        if isinstance(value, dict):
            yield from _token_keys(value)
        elif _TOKEN.fullmatch(key):
            yield key


def _shrunk(config: Mapping[str, Any], tokens: Mapping[str, int], text_part: bool) -> dict[str, Any]:
    layers = config.get("num_hidden_layers")
    done: dict[str, Any] = {}
    for key, value in config.items():
        if key in _LEFT_OUT or not isinstance(key, str):
            continue
        if isinstance(value, dict):
            part = text_part if not key.endswith("config") else key == "text_config"
            done[key] = _shrunk(value, tokens, part)
        elif key in tokens and value is not None:
            done[key] = [tokens[key]] if isinstance(value, list) else tokens[key]
        elif isinstance(value, list) and layers and len(value) == layers:
            kinds = [kind for i, kind in enumerate(value) if kind not in value[:i]]
            done[key] = [kinds[i % len(kinds)] for i in range(LAYERS if text_part else 2)]
        elif isinstance(value, list) and (value or key == "mlp_only_layers") and _INDEXES.fullmatch(key):
            done[key] = [1]
        else:
            done[key] = _size(key, value, text_part)
    return done


def _size(key: str, value: object, text_part: bool) -> object:
    if key == "mrope_section":
        return [HEAD_DIM // 8, HEAD_DIM // 16 * 3, HEAD_DIM // 16 * 3]
    if type(value) is not int:
        return value
    for pattern, of_text, elsewhere in _SIZES:
        if re.fullmatch(pattern, key):
            return of_text if text_part else elsewhere
    return value


def _override(config: dict[str, Any], others: Mapping[str, Any]) -> None:
    for path, value in others.items():
        *parts, key = path.split(".")
        inner = config
        for part in parts:
            inner = inner[part]
        inner[key] = value


def text_backbone(model: Any) -> tuple[str, nn.Module]:
    """The innermost model that holds the input embeddings and a stack of layers, and its name."""
    from transformers import PreTrainedModel

    embeddings = model.get_input_embeddings()
    (*_, innermost) = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, PreTrainedModel)
        and any(isinstance(child, nn.ModuleList) for child in module.children())
        and any(each is embeddings for each in module.modules())
    ]
    return innermost


def build(model_type: str, seed: int = 0, noise: int | None = None, **text: object) -> Any:
    """The model: weights of an ancestor drawn by `seed`, with a little noise around them drawn by `noise`."""
    model = class_of(model_type)(tiny_config(model_type, **text))
    model.eval()
    roles = _roles(model)
    with torch.no_grad():
        for name, tensor in itertools.chain(model.named_parameters(), _saved_buffers(model)):
            if not tensor.is_floating_point():
                continue
            role = roles.get(name, name)
            _draw(tensor, role, seed)
            if noise is not None:
                spread = tensor.std() if tensor.numel() > 1 else tensor.abs()
                tensor.add_(NOISE * spread * torch.randn(tensor.shape, generator=_generator(noise, role)))
    return model


def save_tiny(model_type: str, folder: Path, seed: int = 0, noise: int | None = None, **text: object) -> Path:
    """What `build` makes, as transformers saves it."""
    build(model_type, seed, noise, **text).save_pretrained(folder)
    return folder


def _roles(model: Any) -> dict[str, str]:
    """Parameter or buffer -> its name within the text backbone; that of the head begins with `head.`."""
    prefix, backbone = text_backbone(model)
    roles = {f"{prefix}.{name}": name for name in backbone.state_dict(keep_vars=True)}
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if module is head:
            roles |= {f"{name}.{part}": f"head.{part}" for part in module.state_dict()}
    return roles


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    saved = model.state_dict()
    return ((name, buffer) for name, buffer in model.named_buffers() if name in saved)


def _draw(tensor: torch.Tensor, role: str, seed: int) -> None:
    values = 0.1 * torch.randn(tensor.shape, generator=_generator(seed, role))
    if isinstance(tensor, nn.Parameter) and tensor.dim() > 1:
        tensor.copy_(values)
    else:  # norms are around one, biases around zero, variances positive
        tensor.copy_(torch.where(tensor.isfinite(), tensor, 0) + values.abs())


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
