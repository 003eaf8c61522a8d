"""What transformers' classes say of the tensors of files: without weights, in every spelling, or why not."""

import json
import textwrap
from pathlib import Path

import pytest
from headers import FIXTURES, published
from tiny_configs import tiny_config
from tiny_types import class_of

from adamms.architectures.derive import DerivedArchitecture, derive
from adamms.architectures.meta_model import build
from adamms.architectures.recognise import named, recognise
from adamms.errors import AdammsError

WHERE = Path("/models/x")


def tiny(model_type: str) -> dict[str, object]:
    """The config.json of a tiny model."""
    config: dict[str, object] = json.loads(tiny_config(model_type).to_json_string(use_diff=False))
    return config | {"architectures": [class_of(model_type).__name__]}


def test_hub_files_and_modules_have_the_same_roles() -> None:
    """A file of module names, as `state_dict` gives them, is what the hub's is under names of its own."""
    models = {file.stem: published(file.stem) for file in FIXTURES.glob("*.json")}
    derived = {name for name, each in models.items() if isinstance(each.architecture, DerivedArchitecture)}
    assert {"qwen2_vl_7b_instruct", "llava_1_5_7b_hf", "gemma_3_4b_it", "smolvlm_instruct"} <= derived
    for name in derived:
        model = models[name]
        stored = {str(part) for label in model.labels.values() for part in label.parts}
        modules = build(model.checkpoint.config, WHERE, False).state_dict()
        found = [model.architecture.label(module) for module in modules]
        assert all(found), name
        roles = {str(part) for label in found if label for part in label.parts}
        assert roles - {"head.weight"} <= stored, name
        assert model.architecture.missing(modules) == []


def test_parts_beside_the_language_model_are_kept_with_the_reason() -> None:
    omni = derive(tiny("qwen2_5_omni"), WHERE)
    for name, reason in {
        "talker.model.layers.0.mlp.up_proj.weight": "talker",
        "thinker.audio_tower.conv1.weight": "audio encoder",
        "thinker.visual.merger.mlp.0.weight": "vision encoder",
        "token2wav.code2wav_dit_model.proj_out.weight": "speech decoder",
    }.items():
        label = omni.label(name)
        assert label is not None
        assert (label.role, label.reason) == (None, reason)
    label = omni.label("thinker.model.layers.1.mlp.up_proj.weight")
    assert str(label and label.role) == "layers.1.mlp.up.weight"


def test_a_decoder_that_holds_its_encoder_gives_the_language_model_alone() -> None:
    phi = derive(tiny("phi4_multimodal"), WHERE)
    kept = phi.label(
        "model.embed_tokens_extend.image_embed.img_processor.encoder.layers.0.layer_norm1.weight"
    )
    assert kept is not None
    assert kept.reason == "vision encoder"
    fused = phi.label("model.layers.0.mlp.gate_up_proj.weight")
    assert [str(part) for part in fused.parts] == ["layers.0.mlp.gate.weight", "layers.0.mlp.up.weight"]  # type: ignore[union-attr]


def test_what_no_spec_describes_is_an_open_role() -> None:
    hybrid = derive(tiny("qwen3_5"), WHERE)
    label = hybrid.label("model.language_model.layers.0.linear_attn.A_log")
    assert str(label and label.role) == "layers.0.linear_attn.A_log"


def test_an_encoder_may_have_more_layers_than_its_config_says_a_decoder_may_not() -> None:
    model = published("qwen2_vl_7b_instruct").architecture
    label = model.label("visual.blocks.99.norm1.weight")
    assert label is not None
    assert label.reason == "vision encoder"
    assert model.label("model.layers.28.mlp.up_proj.weight") is None
    assert model.label("model.layers.0.mlp.upp_proj.weight") is None


def test_experts_in_files_of_their_own_where_the_class_stacks_them_otherwise() -> None:
    """transformers stacks those of Qwen3-VL-MoE's relatives only."""
    model = derive(tiny("qwen3_vl_moe"), WHERE)
    layer = "model.language_model.layers.0.mlp.experts."
    label = model.label(f"{layer}3.gate_proj.weight")
    assert str(label and label.role) == "layers.0.moe.expert.3.gate.weight"
    whole = [name for name in build(tiny("qwen3_vl_moe"), WHERE, False).state_dict() if layer not in name]
    assert len(model.missing(whole)) == 2
    assert not model.missing([*whole, f"{layer}0.gate_proj.weight", f"{layer}0.down_proj.weight"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "whisper"},
            "WhisperForConditionalGeneration is an encoder with a decoder",
        ),
        ({"model_type": "vit"}, "ViTModel has no text decoder"),
        (
            {"model_type": "qwen2_vl", "text_config": {"hidden_size": "x"}},
            "cannot be made from config.json: ",
        ),
        (
            {"architectures": ["OwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "own.OwnForCausalLM"}},
            "own.OwnForCausalLM.*mapper.trust_remote_code=true runs them",
        ),
    ],
)
def test_what_cannot_be_derived_is_refused_with_the_reason(config: dict[str, object], message: str) -> None:
    with pytest.raises(AdammsError, match=f"/models/x: .*{message}") as caught:
        recognise(config, WHERE)
    for way_on in ("architecture=FILE.yaml", "mapper=discover"):
        assert way_on in str(caught.value)


def test_an_architecture_may_be_named_by_its_model_type() -> None:
    config = {"architectures": ["MineForCausalLM"], "auto_map": {"AutoModel": "mine.Mine"}}
    assert named("olmo2", config, WHERE).name == "olmo2"
    with pytest.raises(AdammsError, match=r"unknown architecture 'olmo22'.* Nearest: .*olmo2"):
        named("olmo22", config, WHERE)


OWN = """
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
"""
DECODER = """
self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
self.get_input_embeddings = lambda: self.wte
self.h = nn.ModuleList([nn.ModuleDict({"up": nn.Linear(8, 8)}) for _ in range(2)])
self.post_init()
"""


def with_own_class(folder: Path, init: str, **config: object) -> dict[str, object]:
    """The config.json of a folder with a class of its own, whose `__init__` ends in these lines."""
    (folder / "own.py").write_text(OWN + textwrap.indent(init, " " * 8))
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    written: dict[str, object] = {"model_type": "own", "auto_map": auto_map, **config}
    (folder / "config.json").write_text(json.dumps(written))
    return written


def test_python_files_of_the_folder_run_only_if_they_are_trusted(tmp_path: Path) -> None:
    config = with_own_class(tmp_path, DECODER, architectures=["OwnModel"])
    with pytest.raises(AdammsError, match="look at them first"):
        recognise(config, tmp_path)
    own = recognise(config, tmp_path, trust_remote_code=True)
    labels = [own.label(name) for name in ("wte.weight", "h.1.up.weight")]
    assert [str(label and label.role) for label in labels] == ["embed.weight", "layers.1.up.weight"]


def test_a_class_without_post_init_is_tied_as_its_parts_are(tmp_path: Path) -> None:
    """As InternVL's own code is written."""
    wrapper = "self.language_model = LlamaForCausalLM(config)"
    config = with_own_class(tmp_path, wrapper, num_hidden_layers=1, tie_word_embeddings=True)
    own = recognise(config, tmp_path, trust_remote_code=True)
    head, embeddings = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"
    assert {head, embeddings} <= set(own.missing([]))
    assert not {head, embeddings} & set(own.missing([embeddings]))


@pytest.mark.parametrize("kind", ["lfm2_vl", "qwen3_5", "gemma4"])
def test_a_model_has_the_same_roles_with_and_without_its_head(kind: str) -> None:
    whole = tiny(kind)
    names = list(build(whole, WHERE, False).base_model.state_dict())
    alone = {**whole, "architectures": [type(build(whole, WHERE, False).base_model).__name__]}
    with_head, without = derive(whole, WHERE), derive(alone, WHERE)
    for name in names:
        one, other = with_head.label(f"model.{name}"), without.label(name)
        assert (one and one.role) == (other and other.role), name
