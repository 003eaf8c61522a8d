"""Mixtures of experts as transformers builds them: merged bit by bit in any layout, and loaded again."""

from pathlib import Path

import pytest
import torch
from tiny import State, assert_same_bits
from tiny_merges import interpolated, published
from tiny_types import class_of, relayout_experts, save_tiny, text_backbone

ALPHA = 0.3
APART, FUSED, TRANSPOSED = (False, False), (True, False), (True, True)
# Type and layout of the target and of the donor.
PAIRS = {
    "Qwen3-VL-MoE of the hub": (("qwen3_vl_moe", TRANSPOSED), ("qwen3_moe", APART)),
    "Qwen3-VL-MoE of transformers": (("qwen3_vl_moe", FUSED), ("qwen3_moe", APART)),
    "Qwen3-VL-MoE as a donor": (("qwen3_moe", APART), ("qwen3_vl_moe", TRANSPOSED)),
    "Qwen3.5-MoE fused": (("qwen3_5_moe", FUSED), ("qwen3_5_moe_text", APART)),
    "Qwen3.5-MoE per expert": (("qwen3_5_moe", APART), ("qwen3_5_moe", FUSED)),
    "GLM-4.5V": (("glm4v_moe", APART), ("glm4_moe", FUSED)),
    "Kimi": (("kimi_k25", APART), ("deepseek_v3", APART)),
    "DeepSeek-V3": (("deepseek_v3", FUSED), ("deepseek_v3", APART)),
    "Llama 4": (("llama4", None), ("llama4_text", None)),
    "gpt-oss": (("gpt_oss", None), ("gpt_oss", None)),
}
# Chooses experts by their load; nothing merges it.
BALANCE = "e_score_correction_bias"


def save(kind: str, layout: tuple[bool, bool] | None, folder: Path, noise: int) -> Path:
    save_tiny(kind, folder, noise=noise, **({"attention_bias": True} if kind.startswith("glm") else {}))
    return folder if layout is None else relayout_experts(folder, *layout)


def loaded(kind: str, folder: Path) -> tuple[State, State]:
    """The tensors of the text backbone by their names within it, and all the others; no tied head."""
    model = class_of(kind).from_pretrained(folder, dtype=torch.float32)  # type: ignore[attr-defined]
    prefix, _ = text_backbone(model)
    state, own = dict(model.state_dict()), {}
    for name in list(state):
        if name.startswith(f"{prefix}."):
            own[name.removeprefix(f"{prefix}.")] = state.pop(name)
        elif name.endswith("lm_head.weight"):
            head = state.pop(name)
            own |= {} if model.config.tie_word_embeddings else {"lm_head.weight": head}
    return own, state


@pytest.mark.parametrize("pair", PAIRS)
def test_the_merged_model_loads_with_the_exact_mix(tmp_path: Path, pair: str) -> None:
    (kind, layout), (other_kind, other_layout) = PAIRS[pair]
    target = save(kind, layout, tmp_path / "target", noise=1)
    donor = save(other_kind, other_layout, tmp_path / "donor", noise=2)
    recipe = interpolated(target, donor, ALPHA)
    merged, beside = loaded(kind, published(recipe, tmp_path / "merged"))
    own, own_beside = loaded(kind, target)
    others, _ = loaded(other_kind, donor)
    assert merged.keys() == own.keys() <= others.keys()
    assert any("experts" in name for name in merged)
    for name, tensor in merged.items():
        mix = ((1 - ALPHA) * own[name].double() + ALPHA * others[name].double()).float()
        assert_same_bits(tensor, own[name] if BALANCE in name or not tensor.is_floating_point() else mix)
    for name, tensor in beside.items():
        assert_same_bits(tensor, own_beside[name])
