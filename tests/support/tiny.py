"""Makers of tiny but real checkpoints, as transformers itself builds and names them, and of parts of one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HIDDEN = 64
LAYERS = 2
HEADS = 2  # of 32 dimensions
KEY_VALUE_HEADS = 1
FEED_FORWARD = 96
VOCABULARY = 48
VISION_WIDTH = 64

State = dict[str, torch.Tensor]

_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 0,
    "tie_word_embeddings": False,
}


def save_qwen2(folder: Path, seed: int = 0, **settings: object) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return _save(Qwen2ForCausalLM, Qwen2Config(**(_TEXT | settings)), folder, seed)


def save_llama(folder: Path, seed: int = 0, **settings: object) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _save(LlamaForCausalLM, LlamaConfig(**(_TEXT | settings)), folder, seed)


def save_qwen2_vl(folder: Path, seed: int = 0, tied: bool = False, **settings: object) -> Path:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    config = Qwen2VLConfig(
        text_config={**_TEXT, "rope_parameters": rope, "tie_word_embeddings": tied, **settings},
        vision_config={
            "depth": 1,
            "embed_dim": VISION_WIDTH,
            "hidden_size": HIDDEN,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=tied,
    )
    return _save(Qwen2VLForConditionalGeneration, config, folder, seed)


def save_onevision(folder: Path, seed: int = 0, **settings: object) -> Path:
    """LLaVA-OneVision with the names of a freshly made model: no `vision_model.` level."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**(_TEXT | settings)),
        vision_config=SiglipVisionConfig(
            hidden_size=VISION_WIDTH,
            intermediate_size=96,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
            vision_use_head=False,
        ),
        image_token_index=1,
        video_token_index=2,
        image_grid_pinpoints=[[32, 32]],
        tie_word_embeddings=False,
    )
    return _save(LlavaOnevisionForConditionalGeneration, config, folder, seed)


def with_vision_level(source: Path, folder: Path) -> Path:
    """The same in the names of the hub's llava-hf files."""
    state = load_file(source / "model.safetensors")
    return rename(
        source, folder, {name: name.replace("vision_tower.", "vision_tower.vision_model.") for name in state}
    )


def as_original(source: Path, folder: Path) -> Path:
    """A fresh LLaVA-OneVision in the original format: LLaVA-NeXT's names and config."""

    def original(name: str) -> str:
        for leading, replacement in (
            ("language_model.model.", "model."),
            ("language_model.lm_head.", "lm_head."),
            ("vision_tower.", "model.vision_tower.vision_tower.vision_model."),
            ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
            ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
            ("image_newline", "model.image_newline"),
        ):
            if name.startswith(leading):
                return replacement + name.removeprefix(leading)
        raise AssertionError(name)

    rename(source, folder, {name: original(name) for name in load_file(source / "model.safetensors")})
    config = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava",
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        **_TEXT,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def rename(source: Path, folder: Path, names: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True)
    state = load_file(source / "model.safetensors")
    write_state({names[name]: tensor for name, tensor in state.items()}, folder)
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    return folder


def write_state(state: State, folder: Path, shards: int = 1, torch_zip: bool = False) -> Path:
    """Write weights as one file, or spread over several with an index; every other name in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, suffix = ("pytorch_model", "bin") if torch_zip else ("model", "safetensors")

    def save(part: State, file: Path) -> None:
        if torch_zip:
            torch.save(part, file)
        else:
            save_file(part, file, metadata={"format": "pt"})

    if shards == 1:
        save(state, folder / f"{stem}.{suffix}")
        return folder
    weight_map = {}
    for shard in range(shards):
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.{suffix}"
        part = {name: tensor for i, (name, tensor) in enumerate(state.items()) if i % shards == shard}
        save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


def write_tokenizer(folder: Path, tokens: Sequence[str], added: Sequence[str] = ()) -> None:
    """A word-level tokenizer.json whose ids are the positions in `tokens`, `added` ones after them."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=tokens[0])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in added])
    tokenizer.save(str(folder / "tokenizer.json"))


def llama_state(
    seed: int = 0,
    *,
    layers: int = 2,
    hidden: int = 6,
    feed_forward: int = 10,
    vocabulary: int = 7,
    dtype: torch.dtype = torch.float32,
    bias: bool = False,
    head: bool = True,
) -> State:
    """Weights of a Llama-type LM in its own names, made without transformers; one attention head."""
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    if head:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{p}_proj.weight": (hidden, hidden) for p in "qkvo"}
        if bias:
            shapes |= {f"{layer}self_attn.{p}_proj.bias": (hidden,) for p in "qkv"}
        shapes |= {f"{layer}mlp.{p}_proj.weight": (feed_forward, hidden) for p in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, feed_forward)
        shapes |= {f"{layer}{p}_layernorm.weight": (hidden,) for p in ("input", "post_attention")}
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def cogvlm_state(seed: int = 0, *, layers: int = 2, dtype: torch.dtype = torch.float32) -> State:
    """Weights in the names of CogVLM: two experts with fused q, k, v; shapes as `llama_state`'s."""
    plain, extra = (
        llama_state(seed, layers=layers, dtype=dtype),
        llama_state(seed + 1000, layers=layers, dtype=dtype),
    )
    state = {
        name: plain[name] for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    }
    state["model.vision.patch_embedding.proj.weight"] = torch.full((3, 2), 0.5, dtype=dtype)
    for i in range(layers):
        layer = f"model.layers.{i}."
        for norm in ("input_layernorm.weight", "post_attention_layernorm.weight"):
            state[layer + norm] = plain[layer + norm]
        state[f"{layer}self_attn.rotary_emb.inv_freq"] = torch.ones(3, dtype=dtype)
        for expert, source in (("language", plain), ("vision", extra)):
            state[f"{layer}self_attn.{expert}_expert_query_key_value.weight"] = torch.cat(
                [source[f"{layer}self_attn.{p}_proj.weight"] for p in "qkv"]
            )
            state[f"{layer}self_attn.{expert}_expert_dense.weight"] = source[
                f"{layer}self_attn.o_proj.weight"
            ]
            for p in ("gate", "up", "down"):
                state[f"{layer}mlp.{expert}_mlp.{p}_proj.weight"] = source[f"{layer}mlp.{p}_proj.weight"]
    return state


def write_model(
    folder: Path,
    state: State,
    architecture: str = "LlamaForCausalLM",
    shards: int = 1,
    torch_zip: bool = False,
) -> Path:
    """A folder with weights and a config.json that has only the class."""
    write_state(state, folder, shards, torch_zip)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    return folder


def assert_same_bits(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Same dtype, shape and bytes: -0.0 is not 0.0, and the bits of a NaN count."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    raw = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (found, expected)]
    assert torch.equal(*raw)


def _save(model_class: type, config: object, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = model_class(config).to(torch.bfloat16)
    with torch.no_grad():  # norms and biases are otherwise all ones and zeros
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, dtype=torch.bfloat16) * 0.1)
    model.save_pretrained(folder)
    return folder
