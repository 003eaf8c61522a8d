"""Which architecture a config.json declares: a spec's, else that of transformers' class."""

from pathlib import Path

import pytest

from adamms.architectures.recognise import recognise
from adamms.errors import AdammsError


def test_a_class_decides_before_a_model_type() -> None:
    config = {"architectures": ["LlavaQwenForCausalLM"], "model_type": "llama"}
    assert recognise(config, Path("x")).name == "llava_onevision"


def test_a_model_type_decides_where_no_class_is_declared() -> None:
    assert recognise({"model_type": "qwen2_vl"}, Path("x")).name == "qwen2_vl"
    assert recognise({"architectures": None, "model_type": "llama"}, Path("x")).name == "llama"


def test_formats_that_share_a_model_type_are_told_apart() -> None:
    for config, expected in [
        # Published config.json files whose class or type alone would mislead.
        ({"architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava"}, "llava"),  # LLaVA-1.5, Yi-VL
        ({"architectures": ["LlavaQwenForCausalLM"], "model_type": "llava"}, "llava_onevision"),
        ({"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}, "llava_hf"),
        ({"architectures": ["Share4VLlamaForCausalLM"], "model_type": "share4v"}, "llava"),
        ({"architectures": ["CogVLMForCausalLM"]}, "cogvlm"),  # has no model_type
        ({"architectures": ["CambrianLlamaForCausalLM"], "model_type": "cambrian_llama"}, "cambrian"),
        ({"model_type": "llava"}, "llava_hf"),  # as transformers would take it
    ]:
        assert recognise(config, Path("x")).name == expected


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architectures": ["Qwen2VLForConditionalGenerations"]}, "Qwen2VLForConditionalGenerations"),
        ({"architectures": ["Strange"], "model_type": "llama"}, "config.json declares Strange"),
        ({"model_type": "mambo"}, "config.json declares mambo"),
        ({}, "there is no config.json"),
    ],
)
def test_an_unknown_architecture_says_what_the_config_declares(config: dict[str, object], says: str) -> None:
    with pytest.raises(AdammsError, match=r"unknown architecture.*architecture=NAME") as caught:
        recognise(config, Path("/models/x"))
    assert str(caught.value).startswith("/models/x: ")
    assert says in str(caught.value)
    assert "qwen2_vl" in str(caught.value)


def test_an_almost_known_class_names_the_nearest() -> None:
    with pytest.raises(AdammsError, match=r"Nearest: Qwen2VLForConditionalGeneration"):
        recognise({"architectures": ["Qwen2VLForConditionalGenerator"]}, Path("x"))
