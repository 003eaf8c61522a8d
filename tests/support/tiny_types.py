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
    (r"out_hidden_size|output_dim|text_hidden_size|thinker_hidden_size", HIDDEN, HIDDEN),
    (r"hidden_size|encoder_hidden_size|d_model|embed_dim|n_embd|dim|hidden_dim", HIDDEN, WIDTH),
    (r"embedding_size|projection_hidden_size", HIDDEN, HIDDEN),
    (r"vision_output_dim|projector_(in|out)put_dim|projection_dim", WIDTH, WIDTH),
    (r"moe_intermediate_size|shared_expert_intermediate_size|share_expert_dim", 48, 48),
    (r".*intermediate_size.*|.*ffn_dim|mlp_dim|d_ff|(projector|merged|downsample)_hidden_size", 96, 96),
    (r"num_kv_shared_layers", 1, 1),
    (r"(.*_)?num_hidden_layers|(num_|n_)?layers?|(num_)?(.*_)?(en|de)coder_layers", LAYERS, 2),
    (r"depth", 2, 2),
    (r"(.*_)?num_key_value_heads", KEY_VALUE_HEADS, 2),
    (r"(.*_)?attention_heads|num_heads|n_heads?|index_n_heads", HEADS, 2),
    (r"head_dim|kv_channels|d_kv", HEAD_DIM, WIDTH // 2),
    (r"linear_num_(key_)?heads|mamba_num_heads", 2, 2),
    (r"linear_num_value_heads", 4, 4),
    (r"linear_(key_|value_)?head_dim|mamba_head_dim|ssm_state_size|index_head_dim", 16, 16),
    (r"q_lora_rank", 24, 24),
    (r"kv_lora_rank|hc_lowrank", 32, 32),
    (r"qk_(nope|rope)_head_dim", 16, 16),
    (r"qk_head_dim", 32, 32),
    (r"v_head_dim", 24, 24),
    (r"num_experts|n_routed_experts|num_local_experts|moe_num_experts", 4, 4),
    (r"num_experts_per_tok|moe_k|moe_topk|top_k_experts", 2, 2),
    (r"n_group|topk_group|n_shared_experts|moe_num_shared_experts|first_k_dense_replace", 1, 1),
    (r".*vocab_size.*", VOCABULARY, VOCABULARY),
    (r"max_.*position.*|max_(source|target)_positions", 128, 128),
    (r"image_size|(max|min)_(image|img)_size", 32, 32),
    (r"patch_size", 16, 16),
    (r"(conv|nemo_conv|subsampling_conv)_channels|downsample_hidden_size", 16, 16),
    (r"num_filters", 4, 4),
    (r"base_channels", 32, 32),
    (r"upsample_initial_channel|decoder_dim", 64, 64),
    (r"codebook_size|num_embeddings", 64, 64),
)


# Types whose vision encoder is timm's.
NEED_TIMM = ("gemma3n", "perception_lm")
_LEFT_OUT = ("transformers_version", "architectures", "id2label", "label2id", "per_layer_config")
_TOKEN = re.compile(r".*_(token|tokens)_(id|ids|index)|(im|codec)_\w+_id")
_INDEXES = re.compile(r".*_(indexes|indices|idxs|layers)")

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_MROPE = _ROPE | {"mrope_section": [6, 6, 4]}  # height, width, time
_SLIDING_AND_FULL = ["sliding_attention", "full_attention"] * (LAYERS // 2)

# Parts that the default configuration lacks, or that are another type's: type -> key -> the part's type.
_PARTS: dict[str, dict[str, str]] = {
    "diffusion_gemma": {"vision_config": "gemma4_vision"},
    "fast_vlm": {"vision_config": "clip_vision_model"},  # the default needs timm
    "gemma4": {"vision_config": "gemma4_vision", "audio_config": "gemma4_audio"},
    "granite4_vision": {"text_config": "granite"},
    "speech-encoder-decoder": {"encoder": "wav2vec2", "decoder": "bart"},
    "vision-encoder-decoder": {"encoder": "vit", "decoder": "trocr"},
}
# What a type's default does not say or shrinks wrongly, wherever it occurs: type -> path of a key -> value.
_OTHERWISE: dict[str, dict[str, Any]] = {
    "chameleon": {"vocabulary_map": {"<image>": 3}},
    "cohere_compass_text": {
        "layer_types": _SLIDING_AND_FULL,
        "rope_parameters": dict.fromkeys(_SLIDING_AND_FULL, _MROPE),
    },
    "deepseek_ocr2_text": {
        "mlp_layer_types": ["dense", "sparse"] * (LAYERS // 2),
        **{"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    },
    "deepseek_v3": {"head_dim": 16, "num_key_value_heads": HEADS},  # the first is of the rotary part
    "diffusion_gemma_text": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 48},
    "emu3": {"vocabulary_map": {"<image>": 3, "<|extra_200|>": 4}},
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [48, 32], "rope_parameters": _MROPE},
    "florence_vision": {"embed_dim": [32] * 4, "num_heads": [2] * 4, "num_groups": [2] * 4},
    "fun_asr_nano": {"adaptor_config.hidden_size": HIDDEN, "adaptor_config.intermediate_size": HIDDEN // 4},
    "gemma3n_vision": {"architecture": "test_convnext"},
    "glm4v_moe_text": {"rope_parameters.mrope_section": [2, 3, 3]},
    "glm4v_text": {"rope_parameters.mrope_section": [4, 6, 6]},
    "glm5_next_text": {"num_key_value_heads": HEADS},
    "glm_ocr_text": {"rope_parameters.mrope_section": [4, 6, 6]},
    "granite4_vision": {"deepstack_layer_map": [[0, 1]], "downsample_rate": "1/2"},
    "hunyuan_vl_text": {"rope_parameters.mrope_section": [4] * 4},
    "lfm2": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "mimi": {"upsample_groups": WIDTH},
    "mistral4": {"head_dim": 16, "num_key_value_heads": HEADS},
    "moonshine_streaming": {"num_key_value_heads": KEY_VALUE_HEADS},
    "nemotron_h": {"n_groups": 1},
    "paddleocr_vl_text": {"rope_parameters.mrope_section": [4, 6, 6]},
    "perception_lm": {
        "vision_config.architecture": "test_vit",
        "vision_config.model_args": {"embed_dim": WIDTH},
    },
    "qwen2_5_omni_text": {"rope_parameters.mrope_section": [4, 6, 6]},
    "qwen2_5_omni_thinker": {"vision_start_token_id": 9},
    "qwen2_5_vl_text": {"rope_parameters.mrope_section": [4, 6, 6]},
    "qwen2_vl_text": {"rope_parameters.mrope_section": [4, 6, 6]},
    "qwen3_omni_moe": {"talker_config.spatial_merge_size": 2},
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 48},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 9},
    "qwen4_exp_text": {
        **{"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": HEAD_DIM, "indexer_budget": 32},
        **{"indexer_compress_ratio": 4, "ngram_vocab_size_base": 64},
    },
    "step3p5": {"sliding_window": 64},
    "vibevoice": {"diffusion_head_config.hidden_size": HIDDEN},
}


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


def tiny_config(model_type: str, **text: object) -> Any:
    """The default configuration, shrunk. `text`: settings of the language model that are to be others."""
    from transformers import CONFIG_MAPPING

    parts = {key: CONFIG_MAPPING[part]().to_dict() for key, part in _PARTS.get(model_type, {}).items()}
    default = CONFIG_MAPPING[model_type](**parts).to_dict()
    tokens = sorted(_token_keys(default))
    shrunk = _shrunk(default, {key: 1 + index for index, key in enumerate(tokens)}, text_part=True)
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
        if key in _LEFT_OUT:
            continue
        if isinstance(value, dict):
            part = text_part if not key.endswith("config") else key == "text_config"
            done[key] = _shrunk(value, tokens, part)
        elif not isinstance(key, str):
            done[key] = value
        elif key in tokens and value is not None:
            done[key] = [tokens[key]] if isinstance(value, list) else tokens[key]
        elif key == "depths":
            done[key] = [1] * len(value)
        elif isinstance(value, list) and layers and len(value) == layers:
            kinds = [kind for i, kind in enumerate(value) if kind not in value[:i]]
            done[key] = [kinds[i % len(kinds)] for i in range(LAYERS if text_part else 2)]
        elif isinstance(value, list) and (value or key == "mlp_only_layers") and _INDEXES.fullmatch(key):
            done[key] = [1]
        else:
            done[key] = _size(key, value, text_part)
    for path, value in _OTHERWISE.get(config.get("model_type", ""), {}).items():
        part, _, key = path.rpartition(".")
        (done[part] if part else done)[key] = value
    return done


def _size(key: str, value: object, text_part: bool) -> object:
    if key == "mrope_section":
        return [HEAD_DIM // 8, HEAD_DIM // 16 * 3, HEAD_DIM // 16 * 3]
    if key == "head_dim" and value is None and text_part:
        return HEAD_DIM
    if type(value) is not int or value == 0:
        return value
    for pattern, of_text, elsewhere in _SIZES:
        if re.fullmatch(pattern, key):
            return of_text if text_part else elsewhere
    return value


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
