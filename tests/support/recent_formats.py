"""Tiny checkpoints in the formats of 2025: Keye-VL, Ovis 2.5, LLaVA-OneVision-1.5 and -2, Molmo2, OpenVLA.

Names and layouts as published (remote_formats.py says more), around Qwen3 or Llama.
"""

from dataclasses import replace
from typing import Any

import torch
from family_models import DEEPSEEK, HEAD_DIM, HIDDEN, LAYERS, OPENVLA_ALL_ROWS, QWEN3_EXPERTS, TEXT
from remote_formats import (
    FEED_FORWARD,
    WIDTH,
    RemoteFormat,
    clip_block,
    internvl_qwen2,
    linear,
    norm,
    patches,
    plain,
    renamed,
    under,
    without,
)
from tiny import State

PATCH = 14
VISUAL_WORDS = 12  # of Ovis, four of which are its indicators
IMAGE_TOKENS = 8  # of Molmo2: embeddings beside those of the vocabulary
TEXT_WITH_HEAD_DIM: dict[str, Any] = TEXT | {"head_dim": HEAD_DIM}
Shapes = dict[str, tuple[int, ...]]

_SIGLIP = "visual.vision_model"
_KEYE: Shapes = {
    **patches(f"{_SIGLIP}.embeddings.patch_embedding", PATCH),
    f"{_SIGLIP}.embeddings.position_embedding.weight": (4, WIDTH),
    f"{_SIGLIP}.embeddings.packing_position_embedding.weight": (32768, WIDTH),
    **clip_block(f"{_SIGLIP}.encoder.layers.0"),
    **norm(f"{_SIGLIP}.post_layernorm", WIDTH),
    **norm("mlp_AR.pre_norm", 4 * WIDTH),
    **linear("mlp_AR.linear_1", 4 * WIDTH, 4 * WIDTH),
    **linear("mlp_AR.linear_2", HIDDEN, 4 * WIDTH),
}
_NAVIT = "visual_tokenizer.vit.vision_model"
_OVIS_2_5: Shapes = {
    **patches(f"{_NAVIT}.embeddings.patch_embedding", PATCH),
    f"{_NAVIT}.embeddings.position_embedding.weight": (4, WIDTH),
    **clip_block(f"{_NAVIT}.encoder.layers.0"),
    **norm(f"{_NAVIT}.post_layernorm", WIDTH),
    "visual_tokenizer.head.0.weight": (VISUAL_WORDS - 4, 4 * WIDTH),
    **norm("visual_tokenizer.head.1", VISUAL_WORDS - 4),
    "vte.weight": (VISUAL_WORDS, HIDDEN),
}
_RICE = "model.visual.blocks.0"
_LLAVA_ONEVISION_1_5: Shapes = {
    "model.visual.class_embedding": (WIDTH,),
    "model.visual.class_pos_emb": (1, WIDTH // 4),
    "model.visual.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
    **norm("model.visual.pre_layernorm", WIDTH),
    **norm(f"{_RICE}.norm1", WIDTH),
    **norm(f"{_RICE}.norm2", WIDTH),
    **linear(f"{_RICE}.attn.qkv", 3 * WIDTH, WIDTH),
    **linear(f"{_RICE}.attn.proj", WIDTH, WIDTH),
    **linear(f"{_RICE}.mlp.fc1", FEED_FORWARD, WIDTH),
    **linear(f"{_RICE}.mlp.fc2", WIDTH, FEED_FORWARD),
}
_ENCODER = "model.visual.encoder.layers.0"
_LLAVA_ONEVISION_2: Shapes = {
    "model.visual.embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
    **norm("model.visual.layernorm_pre", WIDTH),
    **norm(f"{_ENCODER}.layer_norm1", WIDTH),
    **norm(f"{_ENCODER}.layer_norm2", WIDTH),
    **linear(f"{_ENCODER}.self_attn.qkv", 3 * WIDTH, WIDTH),
    **linear(f"{_ENCODER}.self_attn.proj", WIDTH, WIDTH),
    **linear(f"{_ENCODER}.mlp.fc1", FEED_FORWARD, WIDTH),
    **linear(f"{_ENCODER}.mlp.fc2", WIDTH, FEED_FORWARD),
}
_MERGER: Shapes = {
    **norm("model.visual.merger.ln_q", WIDTH),
    **linear("model.visual.merger.mlp.0", 4 * WIDTH, 4 * WIDTH),
    **linear("model.visual.merger.mlp.2", HIDDEN, 4 * WIDTH),
}


def _molmo2() -> Shapes:
    """Of the vision encoder two layers are used, which the pooling sees side by side."""
    vit, pool = "model.vision_backbone.image_vit", "model.vision_backbone.image_pooling_2d"
    shapes: Shapes = {
        f"{vit}.positional_embedding": (4, WIDTH),
        **linear(f"{vit}.patch_embedding", WIDTH, 3 * PATCH * PATCH),
    }
    for block in (f"{vit}.transformer.resblocks.{i}" for i in range(2)):
        for part in ("wq", "wk", "wv", "wo"):
            shapes |= linear(f"{block}.attention.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{block}.attention_norm", WIDTH) | norm(f"{block}.ffn_norm", WIDTH)
        shapes |= linear(f"{block}.feed_forward.w1", FEED_FORWARD, WIDTH)
        shapes |= linear(f"{block}.feed_forward.w2", WIDTH, FEED_FORWARD)
    for part in ("wq", "wk", "wv"):
        shapes |= linear(f"{pool}.{part}", WIDTH, 2 * WIDTH)
    shapes |= linear(f"{pool}.wo", WIDTH, WIDTH)
    projector = "model.vision_backbone.image_projector"
    shapes |= {f"{projector}.{part}.weight": (FEED_FORWARD, WIDTH) for part in ("w1", "w3")}
    shapes[f"{projector}.w2.weight"] = (HIDDEN, FEED_FORWARD)
    return shapes | {"model.transformer.wte.new_embedding": (IMAGE_TOKENS, HIDDEN)}


_MOLMO2_NAMES = {
    "model.embed_tokens.weight": "model.transformer.wte.embedding",
    "model.norm": "model.transformer.ln_f",
    "self_attn.o_proj": "self_attn.attn_out",
    "mlp.down_proj": "mlp.ff_out",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
}
# Fused, their rows in this order.
_MOLMO2_FUSED = {
    "self_attn.att_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.ff_proj": ("mlp.up_proj", "mlp.gate_proj"),
}


def _to_molmo2(language: State) -> State:
    rest, fused = dict(language), {}
    for i in range(LAYERS):
        for whole, parts in _MOLMO2_FUSED.items():
            pieces = [rest.pop(f"model.layers.{i}.{part}.weight") for part in parts]
            fused[f"model.layers.{i}.{whole}.weight"] = torch.cat(pieces)
    return renamed(renamed(rest | fused, _MOLMO2_NAMES), {"model.layers": "model.transformer.blocks"})


def _from_molmo2(state: State) -> State:
    language = renamed(state, {"model.transformer.blocks": "model.layers"})
    language = renamed(language, {own: known for known, own in _MOLMO2_NAMES.items()})
    sizes = {3: (HIDDEN, HIDDEN // 2, HIDDEN // 2), 2: (TEXT["intermediate_size"],) * 2}
    for i in range(LAYERS):
        for whole, parts in _MOLMO2_FUSED.items():
            pieces = language.pop(f"model.layers.{i}.{whole}.weight").split(sizes[len(parts)])
            for part, piece in zip(parts, pieces, strict=True):
                language[f"model.layers.{i}.{part}.weight"] = piece
    return language


_MOON = "vision_tower.encoder.blocks.0"
_KIMI_VL: Shapes = {
    **patches("vision_tower.patch_embed.proj", PATCH),
    "vision_tower.patch_embed.pos_emb.weight": (2, 2, WIDTH),
    **norm(f"{_MOON}.norm0", WIDTH),
    **norm(f"{_MOON}.norm1", WIDTH),
    **linear(f"{_MOON}.wqkv", 3 * WIDTH, WIDTH),
    **linear(f"{_MOON}.wo", WIDTH, WIDTH),
    **linear(f"{_MOON}.mlp.fc0", FEED_FORWARD, WIDTH),
    **linear(f"{_MOON}.mlp.fc1", WIDTH, FEED_FORWARD),
    **norm("vision_tower.encoder.final_layernorm", WIDTH),
    **norm("multi_modal_projector.pre_norm", WIDTH),
    **linear("multi_modal_projector.linear_1", 4 * WIDTH, 4 * WIDTH),
    **linear("multi_modal_projector.linear_2", HIDDEN, 4 * WIDTH),
}
_BLOCK = "vision.blocks.0"
_DEEPSEEK_VL2: Shapes = {
    **patches("vision.patch_embed.proj", PATCH),
    "vision.pos_embed": (1, 4, WIDTH),
    **norm(f"{_BLOCK}.norm1", WIDTH),
    **norm(f"{_BLOCK}.norm2", WIDTH),
    **linear(f"{_BLOCK}.attn.qkv", 3 * WIDTH, WIDTH),
    **linear(f"{_BLOCK}.attn.proj", WIDTH, WIDTH),
    **linear(f"{_BLOCK}.mlp.fc1", FEED_FORWARD, WIDTH),
    **linear(f"{_BLOCK}.mlp.fc2", WIDTH, FEED_FORWARD),
    **norm("vision.norm", WIDTH),
    **linear("projector.layers.0", HIDDEN, 4 * WIDTH),
    **linear("projector.layers.2", HIDDEN, HIDDEN),
    "image_newline": (HIDDEN,),
    "view_seperator": (HIDDEN,),
}
# So many rows of OpenVLA's embeddings and head are Llama's; then come actions and padding.
OPENVLA_ROWS = 31744
_FEATURIZERS = ("vision_backbone.featurizer", "vision_backbone.fused_featurizer")
_OPENVLA: Shapes = {
    **{f"{tower}.pos_embed": (1, 4, WIDTH) for tower in _FEATURIZERS},
    **linear("projector.fc1", 8 * WIDTH, 2 * WIDTH),
    **linear("projector.fc2", HIDDEN, 8 * WIDTH),
    **linear("projector.fc3", HIDDEN, HIDDEN),
}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **TEXT_WITH_HEAD_DIM}
_DEEPSEEK_V3 = DEEPSEEK | {"model_type": "deepseek_v3"}
_QWEN3_MOE = QWEN3 | QWEN3_EXPERTS | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}
_MOLMO2_TEXT = TEXT_WITH_HEAD_DIM | {
    **{"model_type": "molmo2_text", "layer_norm_eps": TEXT["rms_norm_eps"], "qkv_bias": False},
    **{"use_qk_norm": True, "qk_norm_type": "qwen3", "norm_after": False, "hidden_act": "silu"},
    **{"additional_vocab_size": IMAGE_TOKENS, "rope_scaling_layers": None, "rope_theta": 10000.0},
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}


def _in_language_model(language: State) -> State:
    return renamed(language, {"model.": "model.language_model."})


def _out_of_language_model(state: State) -> State:
    return renamed(state, {"model.language_model.": "model."})


keye_vl = RemoteFormat(
    {"architectures": ["KeyeVL1_5ForConditionalGeneration"], "model_type": "KeyeVL1_5", **TEXT_WITH_HEAD_DIM},
    _KEYE,
    plain,
    plain,
)
ovis_2_5 = RemoteFormat(
    {"architectures": ["Ovis2_5"], "model_type": "ovis2_5", "llm_config": QWEN3},
    _OVIS_2_5,
    lambda language: under("llm.", language),
    lambda state: without("llm.", state),
)
llava_onevision_1_5 = RemoteFormat(
    {
        "architectures": ["LLaVAOneVision1_5_ForConditionalGeneration"],
        "model_type": "llavaonevision1_5",
        "text_config": TEXT_WITH_HEAD_DIM | {"model_type": "LLaVAOneVision1_5_text"},
    },
    _LLAVA_ONEVISION_1_5 | _MERGER,
    _in_language_model,
    _out_of_language_model,
)
llava_onevision_2 = RemoteFormat(
    {
        "architectures": ["LlavaOnevision2ForConditionalGeneration"],
        "model_type": "llava_onevision2",
        "text_config": QWEN3,
    },
    _LLAVA_ONEVISION_2 | _MERGER,
    _in_language_model,
    _out_of_language_model,
)
molmo2 = RemoteFormat(
    {
        "architectures": ["Molmo2ForConditionalGeneration"],
        "model_type": "molmo2",
        "text_config": _MOLMO2_TEXT,
    },
    _molmo2(),
    _to_molmo2,
    _from_molmo2,
)
internvl_qwen3_moe = replace(
    internvl_qwen2,
    config=internvl_qwen2.config | {"llm_config": _QWEN3_MOE},
)
kimi_vl = RemoteFormat(
    {
        "architectures": ["KimiVLForConditionalGeneration"],
        "model_type": "kimi_vl",
        "text_config": _DEEPSEEK_V3,
    },
    _KIMI_VL,
    lambda language: under("language_model.", language),
    lambda state: without("language_model.", state),
)
deepseek_vl2 = RemoteFormat(
    {"model_type": "deepseek_vl_v2", "language_config": _DEEPSEEK_V3},  # names no class
    _DEEPSEEK_VL2,
    lambda language: under("language.", language),
    lambda state: without("language.", state),
)
deepseek_vl2_tiny = replace(
    deepseek_vl2,
    config=deepseek_vl2.config
    | {
        "language_config": _DEEPSEEK_V3
        | {
            **{"model_type": "deepseek_v2", "kv_lora_rank": None, "v_head_dim": 0},
            **{"qk_nope_head_dim": 0, "qk_rope_head_dim": 0},
        }
    },
)
openvla = RemoteFormat(
    {
        "architectures": ["OpenVLAForActionPrediction"],
        "model_type": "openvla",
        "text_config": TEXT | {"model_type": "llama", "vocab_size": OPENVLA_ALL_ROWS},
    },
    _OPENVLA,
    lambda language: under("language_model.", language),
    lambda state: without("language_model.", state),
)
