"""Tiny models of today's families as transformers makes them, and the language models in them."""

from collections.abc import Callable
from typing import Any

HIDDEN, HEADS, KEY_VALUE_HEADS, HEAD_DIM = 128, 4, 2, 32  # the least that vLLM computes with
LAYERS = 2
OPENVLA_ALL_ROWS = 32064
CROSS_LAYERS = [1, 3]  # mllama: of four layers, so that the language model has two

TEXT: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.1,  # else the layers hardly change what passes through them
    "bos_token_id": 2,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
_WITH_HEAD_DIM = TEXT | {"head_dim": HEAD_DIM}
_GEMMA = _WITH_HEAD_DIM | {"tie_word_embeddings": True, "query_pre_attn_scalar": HEAD_DIM}
# As Kimi-VL: queries are not compressed, the first layer is dense. vLLM has kernels for these ranks.
DEEPSEEK: dict[str, Any] = TEXT | {
    **{"num_key_value_heads": HEADS, "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": HEAD_DIM},
    **{
        "qk_rope_head_dim": 64,
        "v_head_dim": HEAD_DIM,
        "first_k_dense_replace": 1,
        "n_shared_experts": 1,
    },
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_group": 1},
    **{"topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.5},
    **{"topk_method": "noaux_tc", "scoring_func": "sigmoid", "hidden_act": "silu"},
}
_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
_QWEN_VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 8,
    "spatial_merge_size": 2,
    "out_hidden_size": HIDDEN,
}
_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}


# ---------------------------------------------------------------- language models


def _qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**TEXT))


def _qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**_WITH_HEAD_DIM))


QWEN3_EXPERTS = {
    **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    **{"decoder_sparse_step": 1, "norm_topk_prob": True},
}


def _qwen3_moe() -> Any:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**_WITH_HEAD_DIM, **QWEN3_EXPERTS))


def _deepseek_v3() -> Any:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    return DeepseekV3ForCausalLM(DeepseekV3Config(**DEEPSEEK))


# DeepSeek's experts with plain attention, as DeepSeek-VL2's smallest.
PLAIN_DEEPSEEK = {name: value for name, value in DEEPSEEK.items() if "lora" not in name and "qk" not in name}


def _glm4_moe() -> Any:
    from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

    whole_heads = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    return Glm4MoeForCausalLM(
        Glm4MoeConfig(**PLAIN_DEEPSEEK, head_dim=HEAD_DIM, use_qk_norm=False, rope_parameters=whole_heads)
    )


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**TEXT))


def _llama_of_openvla() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**TEXT | {"vocab_size": OPENVLA_ALL_ROWS}))


def _mistral() -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**TEXT, sliding_window=None))


def phi3(**settings: int) -> Any:
    from transformers import Phi3Config, Phi3ForCausalLM

    config = TEXT | settings
    return Phi3ForCausalLM(
        Phi3Config(**config, original_max_position_embeddings=config["max_position_embeddings"])
    )


def _gemma3_text() -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA))


LANGUAGE: dict[str, Callable[[], Any]] = {
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "deepseek_v3": _deepseek_v3,
    "glm4_moe": _glm4_moe,
    "llama": _llama,
    "llama_of_openvla": _llama_of_openvla,
    "mistral": _mistral,
    "phi3": phi3,
    "gemma3_text": _gemma3_text,
}


# ---------------------------------------------------------------- families in transformers


def qwen2_5_vl() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config=TEXT | {"rope_parameters": _MROPE},
        vision_config=_QWEN_VISION | {"fullatt_block_indexes": [1], "window_size": 32},
        tie_word_embeddings=False,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3_vl() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(
        text_config=_WITH_HEAD_DIM | {"rope_parameters": _MROPE},
        vision_config=_QWEN_VISION | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        tie_word_embeddings=False,
    )
    return Qwen3VLForConditionalGeneration(config)


def _llava_next(text: Any) -> Any:
    from transformers import CLIPVisionConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

    config = LlavaNextConfig(
        text_config=text,
        vision_config=CLIPVisionConfig(**_VISION),
        image_grid_pinpoints=[[32, 32]],
        image_token_index=1,
        tie_word_embeddings=False,
    )
    return LlavaNextForConditionalGeneration(config)


def llava_next_llama() -> Any:
    from transformers import LlamaConfig

    return _llava_next(LlamaConfig(**TEXT))


def llava_next_mistral() -> Any:
    from transformers import MistralConfig

    return _llava_next(MistralConfig(**TEXT, sliding_window=None))


def internvl_hf() -> Any:
    from transformers import Qwen2Config

    return _internvl_hf(Qwen2Config(**TEXT))


def internvl_hf_qwen3() -> Any:
    from transformers import Qwen3Config

    return _internvl_hf(Qwen3Config(**_WITH_HEAD_DIM))


def _internvl_hf(text: Any) -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        text_config=text,
        vision_config=_VISION | {"image_size": [32, 32], "patch_size": [16, 16]},
        image_token_id=1,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config)


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config=_GEMMA,
        vision_config=_VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
        mm_tokens_per_image=4,
        **{"image_token_index": 1, "boi_token_index": 3, "eoi_token_index": 4},
    )
    return Gemma3ForConditionalGeneration(config)


def idefics3() -> Any:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig

    return Idefics3ForConditionalGeneration(Idefics3Config(**_idefics(LlamaConfig(**TEXT))))


def smolvlm() -> Any:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

    return SmolVLMForConditionalGeneration(SmolVLMConfig(**_idefics(LlamaConfig(**TEXT))))


def _idefics(text: Any) -> dict[str, Any]:
    return {
        "text_config": text,
        "vision_config": _VISION,
        "scale_factor": 2,
        "image_token_id": 1,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    }


def mllama() -> Any:
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    layers = LAYERS + len(CROSS_LAYERS)
    config = MllamaConfig(
        text_config=TEXT
        | {
            "num_hidden_layers": layers,
            "cross_attention_layers": CROSS_LAYERS,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        vision_config={
            **{"hidden_size": 32, "intermediate_size": 48, "attention_heads": 2, "num_hidden_layers": 2},
            **{"num_global_layers": 1, "image_size": 32, "patch_size": 16, "max_num_tiles": 1},
            **{"vision_output_dim": 64, "intermediate_layers_indices": [0]},
            "supported_aspect_ratios": [[1, 1]],
        },
        image_token_index=1,
    )
    return MllamaForConditionalGeneration(config)
