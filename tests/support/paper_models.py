"""Makers of tiny checkpoints of the paper's models, in the names and files of the published ones.

LLaVA-1.5 in Hugging Face's format is made by transformers; what transformers has no class for is put
together from weights of Llama's names. All language models have the same size, so that all of them merge.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiny
import torch
from safetensors.torch import load_file
from tiny import State

from adamms.demo import language

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, LlavaProcessor

LAYERS, HIDDEN, FEED_FORWARD = 2, 64, 96
WORDS = len(language.word_ids())
PADDED_WORDS = WORDS + 8  # of the Hugging Face format, which has rows of its own after Llama's
HEADS = 2
IMAGE, PATCH, VISION_WIDTH = 32, 16, 32

_TEXT: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}

# A module of transformers' LLaVA -> its name in the published llava-hf files, and in the original format.
HF_NAMES = {
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}
ORIGINAL_NAMES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "vision_tower.vision_model.": "model.vision_tower.vision_tower.vision_model.",
    "multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "multi_modal_projector.linear_2.": "model.mm_projector.2.",
}


def renamed(state: State, prefixes: Mapping[str, str]) -> State:
    """`state` with each name's beginning replaced; AssertionError if none of `prefixes` begins it."""

    def new(name: str) -> str:
        for prefix, replacement in prefixes.items():
            if name.startswith(prefix):
                return replacement + name.removeprefix(prefix)
        raise AssertionError(name)

    return {new(name): tensor for name, tensor in state.items()}


def save_llama(folder: Path, seed: int) -> Path:
    return tiny.save_llama(folder, seed, **_TEXT)


def save_llava_hf(folder: Path, seed: int) -> Path:
    """LLaVA-1.5 as transformers makes it, under the names of llava-hf's files, with its processor."""
    from transformers import GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    ids = language.word_ids()
    config = LlavaConfig(
        text_config=LlamaConfig(**_TEXT | {"vocab_size": PADDED_WORDS}, initializer_range=0.15),
        vision_config=_clip(),
        image_token_index=ids[language.DONOR_IMAGE],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        architectures=["LlavaForConditionalGeneration"],
    )
    torch.manual_seed(seed)
    state = LlavaForConditionalGeneration(config).state_dict()
    tiny.write_state({n: t.contiguous() for n, t in renamed(state, HF_NAMES).items()}, folder)
    config.save_pretrained(folder)
    special = {"eos_token_id": ids[language.END], "pad_token_id": ids[language.PAD]}
    GenerationConfig(**special, do_sample=False).save_pretrained(folder)
    llava_processor().save_pretrained(folder)
    return folder


def _clip() -> "CLIPVisionConfig":
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE,
        patch_size=PATCH,
        projection_dim=VISION_WIDTH,
    )


def llava_processor() -> "LlavaProcessor":
    """LLaVA-1.5's processor: 2 x 2 patches, the class token not among the features."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    size = {"height": IMAGE, "width": IMAGE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": IMAGE}, crop_size=size),
        tokenizer=language.tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=language.chat_template(language.DONOR_IMAGE),
        image_token=language.DONOR_IMAGE,
        num_additional_image_tokens=1,
    )


def save_llava(folder: Path, seed: int, architecture: str = "LlavaLlamaForCausalLM") -> Path:
    """LLaVA-1.5 or ShareGPT4V in the original format: torch files, rotary constants, no vision tower."""
    hf = load_file(save_llava_hf(folder.with_name(folder.name + "_hf"), seed) / "model.safetensors")
    state = {n: t for n, t in renamed(hf, ORIGINAL_NAMES).items() if "vision_tower" not in n}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][:WORDS].clone()
    model_type = "share4v" if architecture.startswith("Share4V") else "llava"
    _write(folder, state | _rotary(), architecture, model_type, torch_zip=True)
    tower = {n.removeprefix("vision_tower."): t for n, t in hf.items() if n.startswith("vision_tower.")}
    place = save_tower(folder.with_name(folder.name + "_vit"), seed, tower)
    return _with_image_side(folder, str(place), "mlp2x_gelu")


def save_tower(folder: Path, seed: int, state: State | None = None) -> Path:
    """CLIP's ViT in a folder of its own, with the weights of `state` if given."""
    from transformers import CLIPImageProcessor, CLIPVisionModel

    torch.manual_seed(seed)
    CLIPVisionModel(_clip()).save_pretrained(folder)
    if state:
        tiny.write_state(state, folder)
    size = {"height": IMAGE, "width": IMAGE}
    CLIPImageProcessor(size={"shortest_edge": IMAGE}, crop_size=size).save_pretrained(folder)
    return folder


def _with_image_side(folder: Path, tower: str, projector: str) -> Path:
    """What the published folder says of the image side, and its tokenizer."""
    file = folder / "config.json"
    fields = {
        "mm_vision_tower": tower,
        "mm_projector_type": projector,
        "mm_hidden_size": VISION_WIDTH,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "image_aspect_ratio": "pad",
        "eos_token_id": language.word_ids()[language.END],
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    language.tokenizer().save_pretrained(folder)
    return folder


def save_sharegpt4v(folder: Path, seed: int) -> Path:
    return save_llava(folder, seed, "Share4VLlamaForCausalLM")


def save_cogvlm(folder: Path, seed: int) -> Path:
    """CogVLM: a language and a vision expert of different weights, fused queries, keys and values."""
    plain, vision = _llama(seed), _llama(seed + 1000)
    state = {name: plain[name] for name in plain if "layers" not in name or "layernorm" in name}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for expert, source in (("language", plain), ("vision", vision)):
            state[f"{layer}self_attn.{expert}_expert_query_key_value.weight"] = torch.cat(
                [source[f"{layer}self_attn.{p}_proj.weight"] for p in "qkv"]
            )
            state[f"{layer}self_attn.{expert}_expert_dense.weight"] = source[
                f"{layer}self_attn.o_proj.weight"
            ]
            for p in ("gate", "up", "down"):
                state[f"{layer}mlp.{expert}_mlp.{p}_proj.weight"] = source[f"{layer}mlp.{p}_proj.weight"]
    state |= _random(seed, {"model.vision.boi": (1, 1, HIDDEN), "model.vision.eoi": (1, 1, HIDDEN)})
    state |= _random(seed, {"model.vision.patch_embedding.proj.weight": (VISION_WIDTH, 3, PATCH, PATCH)})
    return _write(folder, state | _rotary(), "CogVLMForCausalLM", None, shards=2)


def save_mplug_owl2(folder: Path, seed: int) -> Path:
    """mPLUG-Owl2: keys, values and norms of the layers twice, of different weights."""
    plain, image = _llama(seed), _llama(seed + 1000)
    state = {}
    for name, tensor in plain.items():
        if any(mark in name for mark in ("k_proj", "v_proj", "layernorm")):
            stem = name.removesuffix("weight")
            state |= {f"{stem}multiway.0.weight": tensor, f"{stem}multiway.1.weight": image[name]}
        else:
            state[name] = tensor
    state |= _random(
        seed,
        {
            "model.vision_model.embeddings.cls_token": (1, 1, VISION_WIDTH),
            "model.visual_abstractor.query_embeds": (1, 4, VISION_WIDTH),
            "model.visual_abstractor.vit_eos": (1, 1, HIDDEN),
        },
    )
    return _write(
        folder, state | _rotary(), "MPLUGOwl2LlamaForCausalLM", "mplug_owl2", shards=3, torch_zip=True
    )


def save_yi_vl(folder: Path, seed: int) -> Path:
    """Yi-VL: LLaVA's names, norms in the projector, the ViT in a folder of its own."""
    shapes = {"model.mm_projector.0.weight": (HIDDEN, VISION_WIDTH), "model.mm_projector.0.bias": (HIDDEN,)}
    shapes |= {"model.mm_projector.3.weight": (HIDDEN, HIDDEN), "model.mm_projector.3.bias": (HIDDEN,)}
    for norm in (1, 4):
        shapes |= {f"model.mm_projector.{norm}.{part}": (HIDDEN,) for part in ("weight", "bias")}
    state = _llama(seed) | _random(seed, shapes)
    _write(folder, state, "LlavaLlamaForCausalLM", "llava", torch_zip=True)
    save_tower(folder / "vit/clip", seed)
    return _with_image_side(folder, "./vit/clip", "mlp2x_gelu_Norm")


def save_cambrian(folder: Path, seed: int) -> Path:
    """Cambrian-1: Llama's names and a little of the spatial vision aggregator."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.vision_query": (1, VISION_WIDTH),
        "model.image_newline": (HIDDEN,),
        "model.mm_projector.0.weight": (HIDDEN, VISION_WIDTH),
        "model.mm_projector_aux_0.3.bias": (VISION_WIDTH,),
        "model.vision_sampler_0.layers.0.pos_embed_3": (16, VISION_WIDTH),
        "model.vision_sampler_layers.1.layers.0.cross_attn.k_proj_0.1.weight": (VISION_WIDTH, VISION_WIDTH),
    }
    state = _llama(seed) | _random(seed, shapes)
    return _write(folder, state, "CambrianLlamaForCausalLM", "cambrian_llama", shards=2)


def _llama(seed: int) -> State:
    state = tiny.llama_state(seed, layers=LAYERS, hidden=HIDDEN, feed_forward=FEED_FORWARD, vocabulary=WORDS)
    return {name: tensor * 0.15 + (1 if "norm" in name else 0) for name, tensor in state.items()}


def _rotary() -> State:
    frequencies = 1 / 10000 ** (torch.arange(0, HIDDEN // HEADS, 2) / (HIDDEN // HEADS))
    return {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": frequencies.clone() for i in range(LAYERS)}


def _random(seed: int, shapes: Mapping[str, tuple[int, ...]]) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _write(
    folder: Path,
    state: State,
    architecture: str,
    model_type: str | None,
    shards: int = 1,
    torch_zip: bool = False,
) -> Path:
    tiny.write_state({n: t.contiguous() for n, t in state.items()}, folder, shards, torch_zip)
    config = {"architectures": [architecture], **_TEXT} | ({"model_type": model_type} if model_type else {})
    (folder / "config.json").write_text(json.dumps(config))
    return folder
