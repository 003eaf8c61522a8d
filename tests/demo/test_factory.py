"""The built folders are checkpoints that plain transformers uses; builds are whole or absent."""

import json
from pathlib import Path

import pytest
import torch
from configured import configured
from PIL import Image
from safetensors import safe_open

from adamms.demo import factory, language, models
from adamms.demo.training import Regime, Trainer
from adamms.errors import AdammsError
from adamms.report.console import Console


def names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        return set(file.keys())


def test_tensor_names_are_those_of_the_hub(miniature: Path) -> None:
    assert {n.split(".")[0] for n in names(miniature / "ancestor")} == {"model", "lm_head"}
    target = names(miniature / "target")
    assert {n.split(".")[0] for n in target} == {"model", "visual", "lm_head"}
    assert "model.layers.0.self_attn.q_proj.bias" in target
    donor = names(miniature / "donor")
    assert "language_model.lm_head.weight" in donor
    assert "language_model.model.layers.0.self_attn.q_proj.bias" in donor
    assert "image_newline" in donor
    rest = {n for n in donor if not n.startswith(("language_model.", "image_newline"))}
    assert all(n.startswith(("vision_tower.vision_model.", "multi_modal_projector.")) for n in rest)


def test_the_language_models_have_equal_shapes(miniature: Path) -> None:
    def shapes(folder: str, prefix: str) -> dict[str, list[int]]:
        with safe_open(miniature / folder / "model.safetensors", "pt") as file:
            return {
                key.removeprefix(prefix): list(file.get_slice(key).get_shape())
                for key in file.keys()  # noqa: SIM118
                if "visual" not in key and "vision" not in key and "projector" not in key
                and "newline" not in key
            }  # fmt: skip

    assert shapes("ancestor", "") == shapes("target", "") == shapes("donor", "language_model.")


@pytest.mark.parametrize("which", ["target", "donor"])
def test_plain_transformers_answers_batches(miniature: Path, tmp_path: Path, which: str) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, loading = AutoModelForImageTextToText.from_pretrained(miniature / which, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(miniature / which)
    examples = (
        configured("data/digits", folder=tmp_path, per_task=1, tasks=["read", "largest", "parity"])
        .load()
        .examples
    )
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": e.question}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for e in examples
    ]
    images = [Image.open(e.image) for e in examples if e.image]
    inputs = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=3)
    answers = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert len(answers) == 3
    assert {word for answer in answers for word in answer.split()} <= set(language.vocabulary())


def test_the_ancestor_is_a_language_model(miniature: Path) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(miniature / "ancestor")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(miniature / "ancestor")
    text = f"{language.VISION_START} green5 . {language.VISION_END} read green"
    inputs = tokenizer(text, return_tensors="pt")
    assert inputs["input_ids"].shape == (1, 6)
    assert torch.isfinite(model(input_ids=inputs["input_ids"]).logits).all()


def test_a_second_call_does_nothing(
    miniature: Path, silent: Console, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(factory, "_train", fail)
    factory.build(miniature, regime=tiny_regime, console=silent)
    with pytest.raises(AdammsError, match="another recipe"):
        factory.build(miniature, seed=1, regime=tiny_regime, console=silent)


def test_models_of_an_earlier_version_are_replaced(
    tmp_path: Path, silent: Console, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "_train", lambda *_: None)
    monkeypatch.setattr(factory, "VERSION", factory.VERSION - 1)
    factory.build(tmp_path / "models", regime=tiny_regime, console=silent)
    (tmp_path / "models/outdated").touch()
    monkeypatch.undo()
    monkeypatch.setattr(factory, "_train", lambda *_: None)
    factory.build(tmp_path / "models", regime=tiny_regime, console=silent)
    assert [file.name for file in (tmp_path / "models").iterdir()] == [factory.MANIFEST]
    assert json.loads((tmp_path / "models/demo.json").read_text())["version"] == factory.VERSION


def test_an_interrupted_build_leaves_nothing(
    tmp_path: Path, silent: Console, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "align", interrupt)
    with pytest.raises(KeyboardInterrupt):
        factory.build(tmp_path / "models", regime=tiny_regime, console=silent)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_removed(
    tmp_path: Path, silent: Console, tiny_regime: Regime, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    dead = factory._building_path(folder, 2**22 + 1)
    (dead / "ancestor").mkdir(parents=True)
    monkeypatch.setattr(factory, "_train", lambda *_: None)
    factory.build(folder, regime=tiny_regime, console=silent)
    assert list(tmp_path.iterdir()) == [folder]
    manifest = json.loads((folder / factory.MANIFEST).read_text())
    assert manifest["seed"] == 0


def test_a_foreign_folder_is_left_alone(tmp_path: Path, silent: Console, tiny_regime: Regime) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(AdammsError, match="not empty"):
        factory.build(tmp_path, regime=tiny_regime, console=silent)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_copy_language_makes_the_language_models_equal() -> None:
    ancestor, target = models.ancestor(), models.target()
    before = target.state_dict()["model.visual.merger.mlp.0.weight"].clone()
    models.copy_language(ancestor, target)
    ids = torch.tensor([[5, 9, 20]])
    assert torch.allclose(ancestor(input_ids=ids).logits, target(input_ids=ids).logits, atol=1e-5)
    assert torch.equal(target.state_dict()["model.visual.merger.mlp.0.weight"], before)
