"""Tiny models of families whose language model mapper=discover cannot read whole, as transformers saves them.

Experts in 3-D stacks, embeddings for each layer, a vision tower that is wider than the language model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from family_models import HEAD_DIM, HIDDEN, TEXT
from safetensors.torch import load_file, save_file

_EXPERTS = TEXT | {
    "head_dim": HEAD_DIM,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
}
_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def qwen3_vl_moe() -> Any:
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8}
    vision |= {"spatial_merge_size": 2, "out_hidden_size": HIDDEN, "num_position_embeddings": 16}
    config = Qwen3VLMoeConfig(
        text_config=_EXPERTS | {"rope_parameters": rope, "decoder_sparse_step": 1},
        vision_config=vision | {"deepstack_visual_indexes": [0]},
        tie_word_embeddings=False,
    )
    return Qwen3VLMoeForConditionalGeneration(config)


def llama4() -> Any:
    from transformers import Llama4Config, Llama4ForConditionalGeneration

    text = TEXT | {"head_dim": HEAD_DIM, "num_local_experts": 4, "intermediate_size_mlp": 96}
    vision = _VISION | {
        "image_size": 32,
        "patch_size": 16,
        "vision_output_dim": 32,
        "projector_input_dim": 32,
    }
    vision |= {"projector_output_dim": 32}
    config = Llama4Config(
        text_config=text | {"interleave_moe_layer_step": 1, "moe_layers": [0, 1]},
        vision_config=vision,
        tie_word_embeddings=False,
    )
    return Llama4ForConditionalGeneration(config)


def gemma3n() -> Any:
    from transformers import Gemma3nForCausalLM, Gemma3nTextConfig

    text = TEXT | {"head_dim": HEAD_DIM, "vocab_size_per_layer_input": 48, "hidden_size_per_layer_input": 96}
    return Gemma3nForCausalLM(
        Gemma3nTextConfig(
            **text, laurel_rank=8, num_kv_shared_layers=0, activation_sparsity_pattern=[0.0, 0.0]
        )
    )


def save_kin(build: Callable[[], Any], target: Path, donor: Path) -> None:
    """Save what `build` makes, and a copy with a little noise on every weight: two of one ancestor."""
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(target)
    model.save_pretrained(donor)
    move(donor)


def move(folder: Path, share: float = 0.1) -> None:
    """Noise on the weights of a saved model, a share of each tensor's deviation."""
    generator = torch.Generator().manual_seed(1)
    file = folder / "model.safetensors"
    state = {
        name: t + share * t.std().nan_to_num() * torch.randn(t.shape, generator=generator)
        for name, t in load_file(file).items()
    }
    save_file(state, file, metadata={"format": "pt"})
