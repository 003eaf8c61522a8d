"""mPLUG-Owl2's files: the published names and shapes, torch shards, nested config, and saving."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_mplug_owl2 as tiny
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from adamms.architectures.recognise import recognise
from adamms.errors import AdammsError
from adamms.models.mplug_owl2.abstractor import positions_1d, positions_2d
from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config
from adamms.models.mplug_owl2.modeling import MPLUGOwl2LlamaForCausalLM
from adamms.models.registration import native_family, register

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/mplug_owl2_llama2_7b.json"
INV_FREQ = "self_attn.rotary_emb.inv_freq"


@pytest.fixture(autouse=True)
def registered() -> None:
    register()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What transformers logs as a warning or worse."""
    transformers_logging.enable_propagation()
    ours = logging.Filter("transformers")  # other libraries' threads may still have something to say
    caplog.handler.addFilter(ours)
    with caplog.at_level(logging.WARNING):
        yield caplog
    caplog.handler.removeFilter(ours)
    transformers_logging.disable_propagation()


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return tiny.config_json()


def published_shapes() -> dict[str, tuple[int, ...]]:
    content = json.loads(FIXTURE.read_text())
    return {
        pattern.replace("{i}", str(layer)): tuple(shape)
        for pattern, count, _, shape in content["tensors"]
        for layer in range(count or 1)
    }


def test_names_and_shapes_at_full_size_are_the_published_ones() -> None:
    """882 tensors in the files, of which the 32 constants are not parameters; nothing else differs."""
    published = published_shapes()
    assert len(published) == 882
    config = MPLUGOwl2Config.from_dict({"visual_config": {"visual_model": {}, "visual_abstractor": {}}})
    with torch.device("meta"):
        model = MPLUGOwl2LlamaForCausalLM(config)
    stored = {name: shape for name, shape in published.items() if INV_FREQ not in name}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == stored
    parameters = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert parameters == stored
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_197_859_328


def test_every_norm_has_its_published_epsilon() -> None:
    """Too small a difference for the logits of a random model to show."""
    with torch.device("meta"):
        model = MPLUGOwl2LlamaForCausalLM(MPLUGOwl2Config())
    found: dict[str, set[float]] = {}
    for name, module in model.named_modules():
        epsilon = getattr(module, "eps", getattr(module, "variance_epsilon", None))
        if epsilon is not None:
            found.setdefault(re.sub(r"\.\d+", "", name), set()).add(epsilon)
    block = "model.visual_abstractor.encoder.layers.crossattention"
    assert found == {
        **{f"model.{name}": {1e-6} for name in ("norm", "layers.input_layernorm.multiway")},
        "model.layers.post_attention_layernorm.multiway": {1e-6},
        "model.vision_model.embeddings.pre_layernorm": {1e-6},
        "model.vision_model.encoder.layers.input_layernorm": {1e-6},
        "model.vision_model.encoder.layers.post_attention_layernorm": {1e-6},
        "model.vision_model.post_layernorm": {1e-6},
        **{f"{block}.{name}": {1e-5} for name in ("norm1", "normk", "output.norm2")},
        f"{block}.output.mlp.ffn_ln": {1e-6},
    }


def test_the_tiny_checkpoints_have_the_published_layout() -> None:
    full = MPLUGOwl2Config().to_dict()
    stored = {name: shape for name, shape in published_shapes().items() if INV_FREQ not in name}
    assert tiny.shapes(full) == stored


def test_the_published_settings_are_the_defaults() -> None:
    config = MPLUGOwl2Config()
    assert (config.rms_norm_eps, config.max_position_embeddings) == (1e-6, 2048)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 10000.0}
    assert (config.visual_model.image_size, config.visual_model.layer_norm_eps) == (448, 1e-6)
    assert (config.image_seq_length, config.visual_abstractor.grid_size) == (65, 32)
    assert config.visual_model.hidden_act == "quick_gelu"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_published_folder_loads_as_it_is(tmp_path, config, said, dtype: torch.dtype) -> None:
    """Torch shards that are not zero-padded, float32 constants among 16-bit weights, sections of 4.31."""
    state = tiny.state(config, seed=3, dtype=dtype)
    folder = tiny.write_checkpoint(tmp_path / "published", config, state | tiny.constants(config))
    assert sorted(file.name for file in folder.glob("*.bin")) == [
        f"pytorch_model-{i}-of-3.bin" for i in (1, 2, 3)
    ]
    for auto in (AutoModelForImageTextToText, AutoModelForCausalLM):
        model = auto.from_pretrained(folder, dtype="auto", local_files_only=True)
        assert type(model) is MPLUGOwl2LlamaForCausalLM
        assert model.dtype == dtype
        loaded = model.state_dict()
        assert loaded.keys() == state.keys()
        for name, tensor in state.items():
            assert torch.equal(loaded[name], tensor), name
        expected = next(iter(tiny.constants(config).values()))
        assert torch.equal(model.model.rotary_emb.inv_freq, expected)
    assert said.text == ""


def test_constants_in_a_file_are_ignored_and_recomputed(tmp_path, config, said) -> None:
    """The abstractor's fixed positions, which some fine-tuned checkpoints hold, and rotary frequencies."""
    state = tiny.state(config)
    extra = {name: torch.full_like(tensor, 7.0) for name, tensor in tiny.constants(config).items()}
    for layer in range(2):
        attention = f"model.visual_abstractor.encoder.layers.{layer}.crossattention.attention."
        extra[f"{attention}q_pos_embed"] = torch.zeros(tiny.QUERIES, tiny.WIDTH)
        extra[f"{attention}k_pos_embed"] = torch.zeros(10, tiny.WIDTH)
    plain = tiny.write_checkpoint(tmp_path / "plain", config, state)
    with_extra = tiny.write_checkpoint(tmp_path / "extra", config, state | extra)
    inputs = {
        "input_ids": torch.tensor([[1, 3, *[0] * tiny.IMAGE_LENGTH, 7, 4]]),
        "token_type_ids": torch.tensor([[0, 0, *[1] * tiny.IMAGE_LENGTH, 0, 0]]),
        "pixel_values": torch.ones(1, 3, tiny.SIDE, tiny.SIDE),
    }
    with torch.no_grad():
        logits = [
            AutoModelForImageTextToText.from_pretrained(folder)(**inputs).logits
            for folder in (plain, with_extra)
        ]
    assert torch.equal(*logits)
    assert said.text == ""


def test_a_file_that_lacks_a_weight_or_has_a_strange_one_is_reported(tmp_path, config, said) -> None:
    state = tiny.state(config)
    del state["model.visual_abstractor.vit_eos"]
    state["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(16, 32)
    AutoModelForImageTextToText.from_pretrained(tiny.write_checkpoint(tmp_path / "bad", config, state))
    assert "model.visual_abstractor.vit_eos" in said.text
    assert "model.layers.0.self_attn.k_proj.weight" in said.text
    assert "UNEXPECTED" in said.text
    assert "MISSING" in said.text


def test_saved_and_loaded_again_it_is_the_same(tmp_path, config, said) -> None:
    state = tiny.state(config, dtype=torch.bfloat16)
    folder = tiny.write_checkpoint(tmp_path / "published", config, state | tiny.constants(config))
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    stored = load_file(tmp_path / "saved/model.safetensors")
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())
    written = json.loads((tmp_path / "saved/config.json").read_text())
    assert written["architectures"] == ["MPLUGOwl2LlamaForCausalLM"]
    for part in ("visual_model", "visual_abstractor"):
        for key in ("hidden_size", "num_hidden_layers", "layer_norm_eps", "model_type"):
            assert written["visual_config"][part][key] == config["visual_config"][part][key]
    assert recognise(written, tmp_path / "saved").name == "mplug_owl2"
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert again.config.image_seq_length == tiny.IMAGE_LENGTH
    assert said.text == ""


def test_transformers_and_adamms_recognise_the_folder(tmp_path, config) -> None:
    folder = tiny.write_checkpoint(tmp_path, config, {})
    assert type(AutoConfig.from_pretrained(folder)) is MPLUGOwl2Config
    family = native_family(folder)
    assert family is not None
    assert family.model_class is MPLUGOwl2LlamaForCausalLM


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (
            "visual_model",
            {"use_cls_token": False},
            "visual_model.use_cls_token is False; mPLUG-Owl2 has True",
        ),
        ("visual_model", {"use_post_layernorm": False}, "visual_model.use_post_layernorm is False"),
        ("visual_abstractor", {"add_v2t_pos_emb": True}, "visual_abstractor.add_v2t_pos_emb is True"),
        ("visual_abstractor", {"encoder_hidden_size": 8}, "hidden_size 16 and encoder_hidden_size 8 differ"),
    ],
)
def test_variants_that_are_not_implemented_are_errors(config, section, change, message) -> None:
    visual = config["visual_config"]
    visual = visual | {section: visual[section] | change}
    with pytest.raises(AdammsError, match=message):
        MPLUGOwl2Config.from_dict(config | {"visual_config": visual})


def test_the_attention_implementation_reaches_every_part(config) -> None:
    model = MPLUGOwl2LlamaForCausalLM._from_config(
        MPLUGOwl2Config.from_dict(config), attn_implementation="eager"
    )
    parts = (model, model.model, model.model.vision_model, model.model.visual_abstractor)
    assert [part.config._attn_implementation for part in parts] == ["eager"] * 4
    model.set_attn_implementation("sdpa")
    assert [part.config._attn_implementation for part in parts] == ["sdpa"] * 4


def test_fixed_positions_at_full_size() -> None:
    """A few entries by hand: sines before cosines, columns before rows, zeros for the class token."""
    queries, tokens = positions_1d(1024, torch.arange(64)), positions_2d(1024, 32, torch.device("cpu"))
    assert queries.shape == (64, 1024)
    assert tokens.shape == (1025, 1024)
    assert not tokens[0].any()
    patch = tokens[1 + 5 * 32 + 9].double()  # row 5, column 9
    frequency = torch.tensor(10000.0).double() ** (-3 / 256)
    assert patch[3].item() == pytest.approx(torch.sin(9 * frequency).item(), abs=1e-6)
    assert patch[256 + 3].item() == pytest.approx(torch.cos(9 * frequency).item(), abs=1e-6)
    assert patch[512 + 3].item() == pytest.approx(torch.sin(5 * frequency).item(), abs=1e-6)
    assert queries[63, 0].item() == pytest.approx(torch.sin(torch.tensor(63.0)).item(), abs=1e-6)
    assert queries[63, 512].item() == pytest.approx(torch.cos(torch.tensor(63.0)).item(), abs=1e-6)
