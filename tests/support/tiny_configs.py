"""Tiny configurations of any type that transformers knows: the defaults, shrunk by the names of the keys."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN, HEADS, KEY_VALUE_HEADS, HEAD_DIM = 128, 4, 2, 32  # the least that vLLM computes with
LAYERS = 4  # so that hybrid patterns, dense and sparse layers all occur
WIDTH = 64  # of everything that is not the language model
VOCABULARY = 320

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
