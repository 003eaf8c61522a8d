"""Makers of tiny checkpoints of the families that adamms implements itself, as they were published."""

import json
from pathlib import Path

import tiny
import torch

HIDDEN = 64
FEED_FORWARD = 96
LAYERS = 2
HEADS = 2
VISION_WIDTH = 32
VISION_FEED_FORWARD = 48
VISION_LAYERS = 2
PATCH = 4
CANVAS = 12
PATCHES = (CANVAS // PATCH) ** 2
WORDS = (
    "Question",
    "Short",
    "answer",
    "Answer",
    ":",
    "what",
    "is",
    "the",
    "largest",
    "digit",
    "colour",
    "of",
)

COGVLM = {
    "_name_or_path": "cogvlm-chat-v1.1",
    "architectures": ["CogVLMForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_cogvlm.CogVLMConfig",
        "AutoModelForCausalLM": "modeling_cogvlm.CogVLMForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": FEED_FORWARD,
    "max_position_embeddings": 128,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "rms_norm_eps": 1e-05,
    "template_version": "chat",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.36.0.dev0",
    "use_cache": True,
    "vision_config": {
        "dropout_prob": 0.0,
        "hidden_act": "gelu",
        "hidden_size": VISION_WIDTH,
        "image_size": CANVAS,
        "in_channels": 3,
        "intermediate_size": VISION_FEED_FORWARD,
        "layer_norm_eps": 1e-06,
        "num_heads": 2,
        "num_hidden_layers": VISION_LAYERS,
        "num_positions": PATCHES + 1,
        "patch_size": PATCH,
    },
    "vocab_size": 48,
}


def cogvlm_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of a tiny CogVLM, from the published names, not from any implementation."""
    wide, vision = HIDDEN, VISION_WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (COGVLM["vocab_size"], wide),
        "model.norm.weight": (wide,),
        "lm_head.weight": (COGVLM["vocab_size"], wide),
        "model.vision.boi": (1, 1, wide),
        "model.vision.eoi": (1, 1, wide),
        "model.vision.patch_embedding.cls_embedding": (1, vision),
        "model.vision.patch_embedding.proj.weight": (vision, 3, PATCH, PATCH),
        "model.vision.patch_embedding.proj.bias": (vision,),
        "model.vision.patch_embedding.position_embedding.weight": (PATCHES + 1, vision),
        "model.vision.linear_proj.linear_proj.weight": (wide, vision),
        "model.vision.linear_proj.norm1.weight": (wide,),
        "model.vision.linear_proj.norm1.bias": (wide,),
        "model.vision.linear_proj.dense_h_to_4h.weight": (FEED_FORWARD, wide),
        "model.vision.linear_proj.gate_proj.weight": (FEED_FORWARD, wide),
        "model.vision.linear_proj.dense_4h_to_h.weight": (wide, FEED_FORWARD),
    }
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for norm in ("input", "post_attention"):
            shapes[f"{layer}{norm}_layernorm.weight"] = (wide,)
        for expert in ("language", "vision"):
            shapes[f"{layer}self_attn.{expert}_expert_query_key_value.weight"] = (3 * wide, wide)
            shapes[f"{layer}self_attn.{expert}_expert_dense.weight"] = (wide, wide)
            for part in ("gate", "up"):
                shapes[f"{layer}mlp.{expert}_mlp.{part}_proj.weight"] = (FEED_FORWARD, wide)
            shapes[f"{layer}mlp.{expert}_mlp.down_proj.weight"] = (wide, FEED_FORWARD)
    for i in range(VISION_LAYERS):
        layer = f"model.vision.transformer.layers.{i}."
        for name, rows, columns in (
            ("attention.query_key_value", 3 * vision, vision),
            ("attention.dense", vision, vision),
            ("mlp.fc1", VISION_FEED_FORWARD, vision),
            ("mlp.fc2", vision, VISION_FEED_FORWARD),
        ):
            shapes[f"{layer}{name}.weight"], shapes[f"{layer}{name}.bias"] = (rows, columns), (rows,)
        for norm in ("input", "post_attention"):
            shapes |= {f"{layer}{norm}_layernorm.{part}": (vision,) for part in ("weight", "bias")}
    return shapes


def unit_scale(shapes: dict[str, tuple[int, ...]], seed: int) -> tiny.State:
    """Weights that keep activations and logits of the order of one.

    Matrices have standard deviation 1 / sqrt(columns), norms are near one, biases near zero.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight") or "layernorm.weight" in name or "norm1.weight" in name:
            state[name] = 1 + 0.1 * noise
        elif name.endswith("bias"):
            state[name] = 0.1 * noise
        elif "embed" in name or name.endswith(("boi", "eoi")):
            state[name] = noise
        else:
            state[name] = noise / noise[0].numel() ** 0.5
    return state


def quiet(state: tiny.State) -> tiny.State:
    """The same with a head that seldom ends an answer: empty ones would all be equal."""
    state["lm_head.weight"][2] *= 0.5
    return state


def save_cogvlm(folder: Path, seed: int = 0, shards: int = 2, **settings: object) -> Path:
    """A CogVLM folder as published: shards with inv_freq, config.json with remote code, no tokenizer."""
    state = unit_scale(cogvlm_shapes(), seed)
    size = HIDDEN // HEADS
    for i in range(LAYERS):
        inverse = 10000.0 ** -(torch.arange(0, size, 2) / size)
        state[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = inverse
    tiny.write_state(quiet(state), folder, shards)
    (folder / "config.json").write_text(json.dumps(COGVLM | settings))
    return folder


def save_tokenizer(folder: Path) -> Path:
    """A tokenizer with Llama's special ids, begin token in front unless told not to; all ids below 48."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *WORDS]
    words += [f"w{i}" for i in range(48 - len(words))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)
    return folder


def save_llava(folder: Path, seed: int = 0) -> Path:
    """A donor of the same sizes in LLaVA-1.5's original format: a Llama, a projector, no vision tower."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (COGVLM["vocab_size"], HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (COGVLM["vocab_size"], HIDDEN),
        "model.mm_projector.0.weight": (HIDDEN, VISION_WIDTH),
        "model.mm_projector.2.weight": (HIDDEN, HIDDEN),
    }
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{part}_proj.weight": (HIDDEN, HIDDEN) for part in "qkvo"}
        shapes |= {f"{layer}mlp.{part}_proj.weight": (FEED_FORWARD, HIDDEN) for part in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (HIDDEN, FEED_FORWARD)
        shapes |= {f"{layer}{norm}_layernorm.weight": (HIDDEN,) for norm in ("input", "post_attention")}
    return tiny.write_model(folder, quiet(unit_scale(shapes, seed)), "LlavaLlamaForCausalLM")
