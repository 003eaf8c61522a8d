"""The checkpoints that are merged in tests/benchmarks/merge.py: real shapes and names, random values."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, INTERMEDIATE, VOCABULARY, KEY_VALUE = 2048, 11008, 151936, 256
VISION_BLOCKS = 12
SHARD_BYTES = 2_000_000_000
# Class -> model_type, and that of its language model.
MODEL_TYPES = {
    "Qwen2VLForConditionalGeneration": ("qwen2_vl", "qwen2_vl_text"),
    "LlavaOnevisionForConditionalGeneration": ("llava_onevision", "qwen2"),
    "Qwen2ForCausalLM": ("qwen2", "qwen2"),
}
# What differs between the models: the standard deviation of their values.
TARGET, DONOR, ANCESTOR = 0.02, 0.03, 0.025


@dataclass(frozen=True)
class Models:
    """Folders of what is merged."""

    target: Path
    donor: Path
    ancestor: Path

    @property
    def target_gb(self) -> float:
        return sum(file.stat().st_size for file in self.target.glob("*.safetensors")) / 1e9


def heterogeneous(folder: Path, gigabytes: float, ancestor: bool) -> Models:
    """A Qwen2-VL-like target of about `gigabytes` and a LLaVA-OneVision-like donor.

    The ancestor, a Qwen2, is made if it is wanted. What is there already is taken as it is.
    """
    models = Models(folder / "target", folder / "donor", folder / "ancestor")
    count = layers(gigabytes, sum(tensor.numel() for tensor in vision().values()))
    make_target(models.target, count)
    if not models.donor.exists():
        names = ((f"language_model.{name}", tensor) for name, tensor in language_model(count, DONOR))
        write_model(models.donor, names, count, "LlavaOnevisionForConditionalGeneration")
    if ancestor:
        make_qwen2(models.ancestor, count, ANCESTOR)
    return models


def of_one_architecture(folder: Path, gigabytes: float, ancestor: bool) -> Models:
    """Three Qwen2 of about `gigabytes` each."""
    models = Models(folder / "qwen2", folder / "other", folder / "ancestor")
    count = layers(gigabytes, 0)
    make_qwen2(models.target, count, TARGET)
    make_qwen2(models.donor, count, DONOR)
    if ancestor:
        make_qwen2(models.ancestor, count, ANCESTOR)
    return models


def make_target(folder: Path, count: int) -> None:
    """A Qwen2-VL with this many layers, unless the folder is there."""
    if not folder.exists():
        parts = (language_model(count, TARGET), iter(vision().items()))
        tensors = (pair for part in parts for pair in part)
        write_model(folder, tensors, count, "Qwen2VLForConditionalGeneration")


def make_qwen2(folder: Path, count: int, scale: float) -> None:
    """A Qwen2 with this many layers, unless the folder is there."""
    if not folder.exists():
        write_model(folder, language_model(count, scale), count, "Qwen2ForCausalLM")


def layers(gigabytes: float, other_parameters: int) -> int:
    """How many make a bfloat16 model of this size."""
    fixed = 2 * VOCABULARY * HIDDEN + other_parameters
    per_layer = 3 * INTERMEDIATE * HIDDEN + 2 * HIDDEN * HIDDEN + 2 * KEY_VALUE * HIDDEN
    return max(1, round((gigabytes * 1e9 / 2 - fixed) / per_layer))


def vision() -> dict[str, torch.Tensor]:
    return {
        f"visual.blocks.{i}.mlp.fc1.weight": torch.ones(INTERMEDIATE, 1280).bfloat16()
        for i in range(VISION_BLOCKS)
    }


def language_model(count: int, scale: float) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of a Qwen2 decoder in bfloat16."""
    generator = torch.Generator().manual_seed(round(scale * 1000))

    def values(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * scale).bfloat16()

    yield "model.embed_tokens.weight", values(VOCABULARY, HIDDEN)
    yield "lm_head.weight", values(VOCABULARY, HIDDEN)
    yield "model.norm.weight", values(HIDDEN)
    rows = {"q": HIDDEN, "k": KEY_VALUE, "v": KEY_VALUE}
    matrix = values(INTERMEDIATE, HIDDEN)
    for layer in range(count):
        prefix = f"model.layers.{layer}."
        shifted = matrix * (1 + layer / 64)  # drawing every layer afresh would take longer than the benchmark
        yield f"{prefix}input_layernorm.weight", values(HIDDEN)
        yield f"{prefix}post_attention_layernorm.weight", values(HIDDEN)
        for part, size in rows.items():
            yield f"{prefix}self_attn.{part}_proj.weight", shifted[:size].clone()
            yield f"{prefix}self_attn.{part}_proj.bias", values(size)
        yield f"{prefix}self_attn.o_proj.weight", shifted[:HIDDEN].clone()
        yield f"{prefix}mlp.gate_proj.weight", shifted
        yield f"{prefix}mlp.up_proj.weight", shifted.flip(0)
        yield f"{prefix}mlp.down_proj.weight", shifted.t().contiguous()


def write_model(
    folder: Path, tensors: Iterable[tuple[str, torch.Tensor]], count: int, architecture: str
) -> None:
    """A sharded checkpoint, one shard in memory at a time; the folder is there when it is whole."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}

    def flush() -> None:
        name = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(shard, partial / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in tensors:
        shard[name] = tensor
        if sum(value.nbytes for value in shard.values()) > SHARD_BYTES:
            flush()
    flush()
    (partial / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    kind, language_kind = MODEL_TYPES[architecture]
    language = {
        "model_type": language_kind,
        "num_hidden_layers": count,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "vocab_size": VOCABULARY,
        "num_attention_heads": HIDDEN // 128,
        "num_key_value_heads": KEY_VALUE // 128,
        "tie_word_embeddings": False,
    }
    config = language if kind == language_kind else {"model_type": kind, "text_config": language}
    config = {"architectures": [architecture], "tie_word_embeddings": False, **config}
    (partial / "config.json").write_text(json.dumps(config))
    partial.rename(folder)
