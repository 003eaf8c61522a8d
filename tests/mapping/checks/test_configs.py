"""Two config.json compared: what makes another model, what is only shown, what is not said."""

from pathlib import Path
from typing import Any

import pytest

from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.mapping.checks.configs import Comparison, compare_configs

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 4,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
# As published: Qwen2.5-VL-7B-Instruct, and a reasoner that comes from Qwen2.5-Math.
QWEN2_5_VL: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "hidden_size": 3584,
    "hidden_act": "silu",
    "intermediate_size": 18944,
    "max_position_embeddings": 128000,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "sliding_window": 32768,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "vocab_size": 152064,
}
R1_DISTILL_QWEN: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "hidden_act": "silu",
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000,
    "sliding_window": 4096,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "use_mrope": False,
    "vocab_size": 152064,
}
GEMMA_3_4B: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
}


def checkpoint(config: dict[str, Any], **shapes: tuple[int, ...]) -> Checkpoint:
    """Headers of the tensors whose names are given with _ for dots."""
    entries = {name: TensorEntry(name, shape, "BF16", Path("x"), 0) for name, shape in shapes.items()}
    return Checkpoint(Path("/models/m"), entries, config)


def compared(target: dict[str, Any], other: dict[str, Any]) -> Comparison:
    return compare_configs("a", checkpoint(target), checkpoint(other))


def conflicts(target: dict[str, Any], **changes: Any) -> dict[str, tuple[str, str]]:
    return {one.what: (one.target, one.other) for one in compared(target, target | changes).conflicts}


def shown(target: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found = compared(target, other)
    assert found.conflicts == ()
    return {one.what: (one.target, one.other) for one in found.differences}


def test_equal_configs_have_no_difference() -> None:
    for config in (LLAMA, QWEN2_5_VL, GEMMA_3_4B):
        assert compared(config, config) == Comparison((), ())


def test_heads_of_another_size_make_another_model_of_the_same_shapes() -> None:
    assert conflicts(LLAMA, num_attention_heads=64, num_key_value_heads=16) == {
        "attention heads": ("32", "64"),
        "key/value heads": ("8", "16"),
        "head_dim": ("128", "64"),
    }
    assert conflicts(LLAMA, head_dim=64) == {"head_dim": ("128", "64")}
    assert conflicts(LLAMA, num_key_value_heads=4) == {"key/value heads": ("8", "4")}
    assert conflicts(LLAMA, hidden_act="gelu") == {"activation": ("silu", "gelu")}
    mla = LLAMA | {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
    swapped = {"qk_nope_head_dim": 64, "qk_rope_head_dim": 128}
    assert set(conflicts(mla, **swapped)) == set(swapped)


def test_spellings_of_one_activation_are_one() -> None:
    assert conflicts(LLAMA, hidden_act="swish") == {}
    assert conflicts(GEMMA_3_4B["text_config"] | {"hidden_activation": "gelu_new"}) == {}


def test_what_is_absent_is_the_default_of_transformers_class() -> None:
    """Of Gemma-3-4B's 8 heads of 256 dimensions config.json says nothing."""
    text = GEMMA_3_4B["text_config"]
    said = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
    full = GEMMA_3_4B | {"text_config": text | said | {"hidden_activation": "gelu_pytorch_tanh"}}
    assert compared(GEMMA_3_4B, full) == Comparison((), ())
    other = GEMMA_3_4B | {"text_config": text | said | {"num_attention_heads": 16, "head_dim": 128}}
    assert {one.what for one in compared(GEMMA_3_4B, other).conflicts} == {"attention heads", "head_dim"}
    llava = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
    llava |= {"text_config": {"model_type": "llama", "vocab_size": 32064}}  # LLaVA-1.5, as published
    vicuna = LLAMA | {"num_key_value_heads": 32, "vocab_size": 32000, "rms_norm_eps": 1e-6}
    vicuna |= {"num_hidden_layers": 32}
    del vicuna["rope_theta"]
    assert shown(llava, vicuna) == {"vocab_size": ("32064", "32000")}


def test_defaults_that_the_tensors_contradict_are_not_believed() -> None:
    """A config.json cut short: transformers would make it a model of 32 heads."""
    short = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584}
    name = "model.layers.0.self_attn.k_proj.weight"
    found = compare_configs("a", checkpoint(QWEN2_5_VL), checkpoint(short, **{name: (512, 3584)}))
    assert found.conflicts == ()
    (one,) = found.differences
    assert one.what == "attention heads, key/value heads, head_dim, activation: not compared"
    assert (one.target, one.other) == ("said", "not said")


@pytest.mark.parametrize("config", [{}, {"architectures": 5, "model_type": ["x"]}, {"text_config": []}])
def test_a_format_that_says_nothing_is_not_compared(config: dict[str, Any]) -> None:
    (what,) = shown(LLAMA, config)
    assert what.endswith("not compared")


@pytest.mark.parametrize(
    "broken",
    [
        {"num_attention_heads": "many"},
        {"num_attention_heads": 0},
        {"rope_scaling": 5},
        {"hidden_size": None},
        {"layer_types": ["a", 3]},
        {"torch_dtype": "nonsense"},
        {"sliding_window": [1]},
        {"rope_parameters": {"rope_type": {}, "rope_theta": None}},
    ],
)
def test_odd_values_raise_nothing(broken: dict[str, Any]) -> None:
    compared(LLAMA, LLAMA | broken)
    compared({key: value for key, value in LLAMA.items() if key != "model_type"} | broken, LLAMA)


def test_original_llava_is_not_taken_for_transformers_llava() -> None:
    """Both say model_type llava; transformers' class would give the original Llama's defaults."""
    original = QWEN2_5_VL | {"architectures": ["LlavaQwenForCausalLM"], "model_type": "llava"}
    del original["rope_scaling"]
    assert compared(QWEN2_5_VL, original) == Comparison((), ())


def test_formats_nest_the_language_model_under_names_of_their_own() -> None:
    qwen = {key: value for key, value in R1_DISTILL_QWEN.items() if key != "tie_word_embeddings"}
    for nested in (
        {"llm_config": qwen},
        {"thinker_config": {"text_config": qwen}},
        {"language_config": qwen},
    ):
        other = {"architectures": ["SomethingElse"], "model_type": "of_remote_code"} | nested
        found = compared(QWEN2_5_VL | {"num_key_value_heads": 2}, other)
        assert {one.what for one in found.conflicts} == {"key/value heads"}


def test_formats_have_keys_of_their_own() -> None:
    own = {"num_heads": 28, "multi_query_group_num": 4, "kv_channels": 128, "hidden_act": "silu"}
    assert compared(QWEN2_5_VL, own).conflicts == ()
    assert {one.what for one in compared(QWEN2_5_VL, own | {"num_heads": 56}).conflicts} == {
        "attention heads"
    }


def test_the_published_trap_is_shown() -> None:
    """DeepSeek-R1-Distill-Qwen-7B comes from Qwen2.5-Math, whose rotary base is another."""
    assert shown(QWEN2_5_VL, R1_DISTILL_QWEN) == {"rope_theta": ("1000000", "10000")}


def test_what_fine_tuning_may_change_is_shown() -> None:
    other = LLAMA | {
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "vocab_size": 128264,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    }
    assert shown(LLAMA, other) == {
        "norm epsilon": ("1e-05", "1e-06"),
        "tied embeddings": ("no", "yes"),
        "vocab_size": ("128256", "128264"),
        "rope_scaling": ("none", "linear (factor 4)"),
    }
    dynamic = LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 4.0}}
    assert shown(other, dynamic)["rope_scaling"] == ("linear (factor 4)", "dynamic (factor 4)")


def test_rope_is_read_from_every_transformers_version() -> None:
    new = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    new |= {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    assert compared(LLAMA, new) == Comparison((), ())
    gemma = GEMMA_3_4B["text_config"]
    local = GEMMA_3_4B | {"text_config": gemma | {"rope_local_base_freq": 20000.0}}
    assert shown(GEMMA_3_4B, local) == {"rope_theta (sliding_attention)": ("10000", "20000")}


def test_windows_must_lie_in_the_same_layers() -> None:
    windowed = LLAMA | {"max_position_embeddings": 32768, "model_type": "mistral"}
    windowed |= {"architectures": ["MistralForCausalLM"], "sliding_window": None}
    assert conflicts(windowed, sliding_window=4096) == {"attention window": ("none", "4096")}
    assert conflicts(windowed, sliding_window=32768) == {}  # all that there is
    assert conflicts(QWEN2_5_VL, use_sliding_window=True, max_window_layers=14, sliding_window=4096) == {
        "attention window of layer 14": ("none", "4096")
    }
    gemma = GEMMA_3_4B["text_config"]
    assert conflicts(gemma, sliding_window=512) == {"attention window of layer 0": ("1024", "512")}
    types = ["full_attention"] * 34
    assert conflicts(gemma, layer_types=types) == {"attention window of layer 0": ("1024", "none")}


def test_norms_of_queries_and_keys_are_seen_in_the_tensors() -> None:
    norm, vision = "model.layers.0.self_attn.q_norm.weight", "vision_model.layers.0.attn.q_norm.weight"
    others = (
        "layers.0.self_attn.norm_k.weight",
        f"language_{norm.replace('layers', 'model.encoder.layers')}",
    )
    for name in (norm, *others):  # Cosmos 3, Qianfan-OCR
        found = compare_configs("a", checkpoint(LLAMA, **{name: (128,)}), checkpoint(LLAMA))
        (one,) = found.conflicts
        assert (one.what, one.target, one.other) == ("q/k norm", "yes", "no")
    for name in (vision, "model.layers.3.cross_attn.q_norm.weight"):
        assert compare_configs("a", checkpoint(LLAMA, **{name: (128,)}), checkpoint(LLAMA)).conflicts == ()
    assert set(conflicts(LLAMA | {"model_type": "of_remote_code"}, use_qk_norm=True)) == {"q/k norm"}
