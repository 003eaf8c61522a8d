"""Which architecture a config.json declares: a spec's, else that of transformers' class."""

import json
from pathlib import Path

import headers
import pytest
from headers import FIXTURES
from safetensors import safe_open

from adamms.architectures.leftovers import label_all
from adamms.architectures.recognise import named, recognise
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
        ({"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}, "llava"),
        ({"architectures": ["Share4VLlamaForCausalLM"], "model_type": "share4v"}, "llava"),
        ({"architectures": ["CogVLMForCausalLM"]}, "cogvlm"),  # has no model_type
        ({"architectures": ["CambrianLlamaForCausalLM"], "model_type": "cambrian_llama"}, "cambrian"),
    ]:
        assert recognise(config, Path("x")).name == expected


def test_of_several_classes_the_first_that_is_known_decides() -> None:
    classes = ["Strange", "Qwen3ForCausalLM", "LlamaForCausalLM"]
    assert recognise({"architectures": classes}, Path("x")).name == "qwen3"
    assert recognise({"architectures": ["Qwen3_5ForCausalLM", *classes]}, Path("x")).name == "qwen3_5_text"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architectures": ["Qwen2VLForConditionalGenerations"]}, "Qwen2VLForConditionalGenerations"),
        ({"architectures": ["Strange"], "model_type": "llama"}, "config.json declares Strange"),
        ({"architectures": ["Strange"], "model_type": "qwen3_5"}, "known: architecture=qwen3_5, if"),
        ({"model_type": "mambo"}, "config.json declares mambo"),
        ({}, "there is no config.json"),
    ],
)
def test_an_unknown_architecture_says_what_the_config_declares(config: dict[str, object], says: str) -> None:
    with pytest.raises(AdammsError, match=r"unknown architecture.*architecture=NAME") as caught:
        recognise(config, Path("/models/x"))
    assert str(caught.value).startswith("/models/x: ")
    assert says in str(caught.value)
    assert "one of cambrian, " in str(caught.value)


def test_a_model_of_diffusers_is_named() -> None:
    with pytest.raises(AdammsError, match=r"UNet2DConditionModel of diffusers, which is no language model"):
        recognise({"_class_name": "UNet2DConditionModel"}, Path("x"))


def test_a_name_that_is_spec_and_type_is_offered_once() -> None:
    with pytest.raises(AdammsError, match="Nearest: qwen3_vl, qwen3, qwen2_vl"):
        named("qwen3vl", {}, Path("x"))


def test_an_almost_known_class_names_the_nearest() -> None:
    with pytest.raises(AdammsError, match=r"Nearest: Qwen2VLForConditionalGeneration"):
        recognise({"architectures": ["Qwen2VLForConditionalGenerator"]}, Path("x"))


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("qwen2_vl", "qwen2_vl"),
        ("onevision_fresh", "llava_onevision"),
        ("onevision_hub", "llava_onevision"),
        ("onevision_original", "llava_onevision"),
        ("qwen2", "llama"),
        ("llama", "llama"),
    ],
)
def test_real_checkpoints_are_recognised_and_wholly_described(
    folder: str, expected: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(folder)
    architecture = recognise(json.loads((path / "config.json").read_text()), path)
    assert architecture.name == expected
    with safe_open(path / "model.safetensors", "pt") as file:
        labels = {name: architecture.label(name) for name in file.keys()}  # noqa: SIM118
    assert all(labels.values())
    roles = [label.role for label in labels.values() if label and label.role]
    assert len(set(roles)) == len(roles)
    per_layer = 12 if "llama" not in folder else 9  # Qwen2 has three biases
    assert len(roles) == 3 + 2 * per_layer


def test_published_checkpoints_are_recognised_and_wholly_described() -> None:
    for file in sorted(FIXTURES.glob("*.json")):
        content = json.loads(file.read_text())
        architecture = recognise(content["config"], file)
        names = [
            name for pattern, layers, _, _ in content["tensors"] for name in headers.names(pattern, layers)
        ]
        assert label_all(names, architecture.label, (), file.name).known.keys() == set(names)
