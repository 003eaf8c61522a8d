"""Tiny mPLUG-Owl2 checkpoints laid out as the published one, and a tokenizer of few words."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from adamms.demo import language

HIDDEN, HEADS, KEY_VALUE_HEADS, LAYERS, FEED_FORWARD = 32, 4, 2, 2, 48
WIDTH, PATCH, SIDE, QUERIES = 16, 8, 24, 4  # of the image part: 3 x 3 patches
IMAGE_LENGTH = QUERIES + 1

WORDS = ["<unk>", "<s>", "</s>", "USER:", "ASSISTANT:"]
WORDS += [word for word in language.vocabulary() if word not in language.SPECIAL]

# What transformers 4 wrote into every section of a config.json, here with its defaults.
LEGACY = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "architectures": None,
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "bos_token_id": None,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "decoder_start_token_id": None,
    "diversity_penalty": 0.0,
    "do_sample": False,
    "early_stopping": False,
    "eos_token_id": None,
    "finetuning_task": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False,
    "is_encoder_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "length_penalty": 1.0,
    "max_length": 20,
    "num_beams": 1,
    "output_attentions": False,
    "output_hidden_states": False,
    "pad_token_id": None,
    "problem_type": None,
    "pruned_heads": {},
    "repetition_penalty": 1.0,
    "return_dict": True,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "tie_word_embeddings": True,
    "tokenizer_class": None,
    "top_k": 50,
    "torch_dtype": None,
    "torchscript": False,
    "use_bfloat16": False,
    "use_flash_attn": False,
}


def config_json(**changes: Any) -> dict[str, Any]:
    """A config.json with the published one's keys and tiny values."""
    visual_model = {
        "hidden_act": "quick_gelu",
        "hidden_size": WIDTH,
        "image_size": SIDE,
        "initializer_factor": 1.0,
        "intermediate_size": 24,
        "layer_norm_eps": 1e-6,
        "model_type": "mplug_owl_vision_model",
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 2,
        "patch_size": PATCH,
        "projection_dim": 768,
    }
    visual_abstractor = {
        "attention_probs_dropout_prob": 0.0,
        "encoder_hidden_size": WIDTH,
        "grid_size": SIDE // PATCH,
        "hidden_size": WIDTH,
        "intermediate_size": 20,
        "layer_norm_eps": 1e-6,
        "model_type": "mplug_owl_visual_abstract",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_learnable_queries": QUERIES,
    }
    return {
        "architectures": ["MPLUGOwl2LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": 2048,
        "model_type": "mplug_owl2",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "transformers_version": "4.31.0",
        "use_cache": True,
        "visual_config": {
            "visual_abstractor": LEGACY | visual_abstractor,
            "visual_model": LEGACY | visual_model,
        },
        "vocab_size": len(WORDS),
    } | changes


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stored tensors but the constants, in the published layout."""
    hidden, ff = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    vit, read = (config["visual_config"][part] for part in ("visual_model", "visual_abstractor"))
    width, vff, aff = vit["hidden_size"], vit["intermediate_size"], read["intermediate_size"]
    patches = (vit["image_size"] // vit["patch_size"]) ** 2
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "lm_head.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }

    def linear(name: str, out: int, into: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (out, into), (out,)

    def norm(name: str, size: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (size,), (size,)

    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        found |= {f"{layer}self_attn.{p}_proj.weight": (hidden, hidden) for p in "qo"}
        found |= {f"{layer}mlp.{p}_proj.weight": (ff, hidden) for p in ("gate", "up")}
        found[f"{layer}mlp.down_proj.weight"] = (hidden, ff)
        for way in (0, 1):
            found |= {f"{layer}self_attn.{p}_proj.multiway.{way}.weight": (kv, hidden) for p in "kv"}
            for p in ("input", "post_attention"):
                found[f"{layer}{p}_layernorm.multiway.{way}.weight"] = (hidden,)
    vision = "model.vision_model."
    found[f"{vision}embeddings.cls_token"] = (1, 1, width)
    found[f"{vision}embeddings.patch_embed.weight"] = (width, 3, vit["patch_size"], vit["patch_size"])
    found[f"{vision}embeddings.position_embedding"] = (1, patches + 1, width)
    norm(f"{vision}embeddings.pre_layernorm", width)
    norm(f"{vision}post_layernorm", width)
    for i in range(vit["num_hidden_layers"]):
        layer = f"{vision}encoder.layers.{i}."
        linear(f"{layer}self_attn.query_key_value", 3 * width, width)
        linear(f"{layer}self_attn.dense", width, width)
        linear(f"{layer}mlp.fc1", vff, width)
        linear(f"{layer}mlp.fc2", width, vff)
        norm(f"{layer}input_layernorm", width)
        norm(f"{layer}post_attention_layernorm", width)
    abstractor = "model.visual_abstractor."
    found[f"{abstractor}query_embeds"] = (1, read["num_learnable_queries"], width)
    found[f"{abstractor}vit_eos"] = (1, 1, hidden)
    linear(f"{abstractor}visual_fc", hidden, width)
    for i in range(read["num_hidden_layers"]):
        layer = f"{abstractor}encoder.layers.{i}.crossattention."
        for p in ("query", "key", "value"):
            linear(f"{layer}attention.{p}", width, width)
        linear(f"{layer}output.out_proj", width, width)
        for p, out, into in (("w1", aff, width), ("w2", width, aff), ("w3", aff, width)):
            linear(f"{layer}output.mlp.{p}", out, into)
        norm(f"{layer}output.mlp.ffn_ln", aff)
        for p in ("norm1", "normk", "output.norm2"):
            norm(f"{layer}{p}", width)
    return found


def state(config: dict[str, Any], seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights at which every activation, and the logits, are of about unit size.

    Matrices have variance 1/fan-in, gains are around 1, biases small, learned embeddings of size 1.
    """
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight") or "ln.weight" in name or (len(shape) == 1 and "weight" in name):
            value = 1 + 0.2 * noise
        elif name.endswith(".bias"):
            value = 0.2 * noise
        elif name.endswith(".weight") and "embed_tokens" not in name:
            value = noise / (noise[0].numel() ** 0.5)
        else:
            value = noise
        made[name] = value.to(dtype)
    return made


def constants(config: dict[str, Any]) -> dict[str, Tensor]:
    """The float32 rotary frequencies that the published files hold beside the weights."""
    size = config["hidden_size"] // config["num_attention_heads"]
    frequencies = 1.0 / (config["rope_theta"] ** (torch.arange(0, size, 2).float() / size))
    layers = range(config["num_hidden_layers"])
    return {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": frequencies.clone() for i in layers}


@dataclass(frozen=True)
class Prompt:
    """Token ids, types, and the images of one example."""

    ids: list[int]
    types: list[int]
    pixels: Tensor | None


def prompt(*parts: int | list[int], seed: int = 0) -> Prompt:
    """Lists are token ids; a number is that many images."""
    ids: list[int] = []
    types: list[int] = []
    images = sum(part for part in parts if isinstance(part, int))
    for part in parts:
        count = part * IMAGE_LENGTH if isinstance(part, int) else len(part)
        ids += [0] * count if isinstance(part, int) else part
        types += [int(isinstance(part, int))] * count
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, SIDE, SIDE, generator=generator) if images else None
    return Prompt(ids, types, pixels)


def write_checkpoint(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> Path:
    """As published: config.json, a torch file per layer and one for the rest (not zero-padded), an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    layers = config["num_hidden_layers"]
    weight_map = {}
    for name in weights:
        parts = name.split(".")
        shard = int(parts[2]) + 1 if name.startswith("model.layers.") else layers + 1
        weight_map[name] = f"pytorch_model-{shard}-of-{layers + 1}.bin"
    for file in sorted(set(weight_map.values())):
        torch.save({name: weights[name] for name in weights if weight_map[name] == file}, folder / file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def write_preprocessing(folder: Path, side: int = SIDE) -> Path:
    """tokenizer.json, its config and preprocessor_config.json; no chat template and no processor config."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = tokens | {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "preprocessor_config.json").write_text(json.dumps(clip_settings(side)))
    return folder


def clip_settings(side: int) -> dict[str, Any]:
    """preprocessor_config.json of a CLIP image processor, as transformers 4 wrote it."""
    return {
        "crop_size": side,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": side,
    }
