"""The second pair, Llama, mPLUG-Owl2 and LLaVA: checkpoints of their own classes, which merge and answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from configured import configured
from configured_engines import transformers_engine
from mappers import spec_mapper
from PIL import Image
from safetensors.torch import load_file
from tiny_merges import described, interpolated
from torch import Tensor

from adamms.data.example import Example
from adamms.demo import factory, language, llamas, models
from adamms.demo.anatomy import Anatomy
from adamms.demo.pairs import PAIRS
from adamms.demo.training import Regime
from adamms.errors import AdammsError
from adamms.models.registration import load_model
from adamms.report.console import Console

LLAMA = PAIRS["llama"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, stages: Path, silent: Console, tiny_regime: Regime
) -> Path:
    folder = tmp_path_factory.mktemp("llamas") / "models"
    factory.build(folder, pair="llama", regime=tiny_regime, stages=stages, console=silent)
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    digits = configured(
        "data/digits",
        folder=tmp_path_factory.mktemp("digits"),
        per_task=1,
        tasks=["read", "largest", "parity"],
    )
    return digits.load().examples


def as_in_training(examples: Sequence[Example], parts: Anatomy) -> list[dict[str, Tensor]]:
    """The forward's arguments for each example up to where its answer begins."""
    inputs = []
    for example in examples:
        assert example.image is not None
        tokens, _ = language.dialogue(parts.image, [(example.question, "")], language.word_ids())
        pixels = torch.from_numpy(np.array(Image.open(example.image))).permute(2, 0, 1).float() / 127.5 - 1
        inputs.append(parts.inputs(torch.tensor([tokens[:-1]]), pixels[None]))
    return inputs


@pytest.mark.parametrize(
    ("processor", "member"),
    [(llamas.target_processor, LLAMA.target), (llamas.donor_processor, LLAMA.donor)],
)
def test_training_inputs_are_the_processors(
    examples: tuple[Example, ...], processor: Any, member: Any
) -> None:
    ours = as_in_training(examples, member.dissect(member.build()))
    for example, arguments in zip(examples, ours, strict=True):
        content = [{"type": "image"}, {"type": "text", "text": example.question}]
        text = processor().apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        given = processor()(text=[text], images=[Image.open(example.image)], return_tensors="pt")
        assert set(arguments) == set(given) - {"attention_mask"}
        assert given["input_ids"].tolist() == arguments["input_ids"].tolist()
        assert torch.allclose(arguments["pixel_values"], given["pixel_values"].float(), atol=1e-6)
        if "token_type_ids" in arguments:
            assert torch.equal(arguments["token_type_ids"], given["token_type_ids"])


def test_the_checkpoints_load_in_their_classes(pair: Path) -> None:
    from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

    donor, loading = LlavaForConditionalGeneration.from_pretrained(pair / "donor", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert "vision_tower.vision_model.embeddings.class_embedding" in load_file(
        pair / "donor/model.safetensors"
    )
    assert type(AutoModelForCausalLM.from_pretrained(pair / "ancestor")).__name__ == "LlamaForCausalLM"
    target = load_model(pair / "target")
    assert type(target).__name__ == "MPLUGOwl2LlamaForCausalLM"
    stored = load_file(pair / "target/model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in target.state_dict().items())
    assert donor.config.text_config.rope_parameters["rope_theta"] == models.ROPE_THETA
    assert target.config.rope_parameters["rope_theta"] == models.ROPE_THETA


def test_both_copies_of_the_language_model_start_as_the_ancestor() -> None:
    ancestor, target = LLAMA.ancestor(), LLAMA.target.build()
    models.copy_language(ancestor, target)
    known, copied = ancestor.state_dict(), target.state_dict()
    for name in ("self_attn.k_proj", "self_attn.v_proj", "input_layernorm", "post_attention_layernorm"):
        for copy in (0, 1):
            mine = copied[f"model.layers.1.{name}.multiway.{copy}.weight"]
            assert torch.equal(mine, known[f"model.layers.1.{name}.weight"])
    ids = torch.tensor([[5, 9, 20]])
    assert torch.allclose(ancestor(input_ids=ids).logits, target(input_ids=ids).logits, atol=1e-5)


def test_alignment_trains_all_but_the_language_model() -> None:
    for member in (LLAMA.target, LLAMA.donor):
        model = member.build()
        spoken = {id(parameter) for parameter in member.dissect(model).language}
        names = {name for name, parameter in model.named_parameters() if id(parameter) in spoken}
        seeing = ("vision", "visual", "multi_modal_projector")
        assert names == {n for n, _ in model.named_parameters() if not any(part in n for part in seeing)}


def test_the_whole_language_model_is_merged_its_copies_too(pair: Path) -> None:
    plan = spec_mapper().plan(
        described(pair / "target"), {"llava": described(pair / "donor")}, described(pair / "ancestor")
    )
    kept = [slot.name for slot in plan.slots if not slot.merged]
    assert kept
    assert all(name.startswith(("model.vision_model.", "model.visual_abstractor.")) for name in kept)
    slots = {slot.name: slot for slot in plan.slots}
    assert all(slot.ancestor is not None for slot in plan.slots if slot.merged)
    for name in ("self_attn.k_proj", "input_layernorm"):
        copies = [slots[f"model.layers.0.{name}.multiway.{copy}.weight"] for copy in (0, 1)]
        assert copies[0].donors == copies[1].donors
        assert f"language_model.model.layers.0.{name}.weight" in str(copies[0].donors["llava"])


@pytest.mark.parametrize("which", ["target", "donor"])
def test_the_engine_asks_as_training_did(pair: Path, examples: tuple[Example, ...], which: str) -> None:
    """Its prompts, left-padded in one batch, have the log-probabilities of training's forward.

    float32 in another order of sums: 1e-4 is a hundred times what it makes.
    """
    other = {"target": "donor", "donor": "target"}[which]
    parts = getattr(LLAMA, which).dissect(getattr(LLAMA, which).build())
    settings = {"batch_size": 3, "max_new_tokens": 2, "accelerator": "cpu"}
    with transformers_engine(pair / which, **settings, logprobs=3) as engine:
        told = dict(engine.generate(examples))
        engine.load(interpolated(pair / which, pair / other, 0.5))
        merged = dict(engine.generate(examples))
    model = load_model(pair / which).eval()
    for example, arguments in zip(examples, as_in_training(examples, parts), strict=True):
        with torch.inference_mode():
            expected = model(**arguments).logits[0, -1].log_softmax(-1)
        first, changed = told[example.id].tokens[0], merged[example.id].tokens[0]
        assert first.logprob == pytest.approx(float(expected.max()), abs=1e-4)
        for word, value in first.likeliest:
            assert value == pytest.approx(float(expected[word]), abs=1e-4)
        assert changed.likeliest != first.likeliest


def test_a_seed_gives_the_same_bytes(
    pair: Path, tmp_path: Path, silent: Console, tiny_regime: Regime
) -> None:
    factory.build(tmp_path / "again", pair="llama", regime=tiny_regime, console=silent)
    for which in ("ancestor", "target", "donor"):
        first = (pair / which / "model.safetensors").read_bytes()
        assert (tmp_path / "again" / which / "model.safetensors").read_bytes() == first


def test_the_pairs_stages_and_folders_are_apart(
    pair: Path, stages: Path, miniature: Path, tmp_path: Path, silent: Console, tiny_regime: Regime
) -> None:
    assert (
        len(list(stages.iterdir())) == 7
    )  # the ancestor; vision, alignment and fine-tuning of target and donor
    factory.build(tmp_path / "first", regime=tiny_regime, stages=stages, console=silent)
    assert len(list(stages.iterdir())) == 14
    assert json.loads((pair / factory.MANIFEST).read_text())["pair"] == "llama"
    assert set(json.loads((miniature / factory.MANIFEST).read_text())) == {"version", "seed", "regime"}
    with pytest.raises(AdammsError, match="another recipe"):
        factory.build(miniature, pair="llama", regime=tiny_regime, console=silent)
    with pytest.raises(AdammsError, match=r"pair is 'lama'; expected one of: qwen2, llama, sentences"):
        factory.build(tmp_path / "none", pair="lama", regime=tiny_regime, console=silent)
