"""Native checkpoint folders, published and saved, through transformers' own Auto classes."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import native_models as native
import pytest
import tiny
import torch
from configured_engines import transformers_engine
from safetensors.torch import load_file
from tiny_types import save_tiny

from adamms.data.example import Example
from adamms.demo import models
from adamms.engines.base import PromptFiles
from adamms.engines.prompt import load_processor
from adamms.errors import AdammsError
from adamms.models.registration import (
    auto_class,
    families,
    load_model,
    native_config,
    native_family,
    register,
)

TRAP = "raise SystemExit('remote code was run')"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards, inv_freq, no model_type, no tokenizer, and remote code that must not run."""
    folder = native.save_cogvlm(tmp_path_factory.mktemp("published") / "cogvlm", seed=3, shards=3)
    for name in ("configuration_cogvlm.py", "modeling_cogvlm.py"):
        (folder / name).write_text(TRAP)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native.save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def warnings_of_transformers() -> Iterator[list[str]]:
    """What transformers logs at warning level or above; it does not hand it on to the root logger."""
    records: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    handler, logger = Collect(logging.WARNING), logging.getLogger("transformers")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


class TestPublishedFolder:
    def test_loads_as_it_is_without_a_word(
        self, published: Path, warnings_of_transformers: list[str]
    ) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

        register()
        stored = {
            name: tensor
            for shard in published.glob("*.safetensors")
            for name, tensor in load_file(shard).items()
        }
        assert any("inv_freq" in name for name in stored)
        for auto in (AutoModelForImageTextToText, AutoModelForCausalLM):
            model, report = auto.from_pretrained(
                published, config=native_config(published), output_loading_info=True
            )
            assert type(model).__name__ == "CogVLMForCausalLM"
            assert not any(report.values()), report
            for name, tensor in model.state_dict().items():
                tiny.assert_same_bits(
                    tensor, stored.pop(name) if auto is AutoModelForCausalLM else stored[name]
                )
        assert all("inv_freq" in name for name in stored)
        assert warnings_of_transformers == []

    def test_bfloat16_stays(self, tmp_path: Path) -> None:
        folder = native.save_cogvlm(tmp_path / "m", torch_dtype="bfloat16")
        for shard in folder.glob("*.safetensors"):
            state = {name: tensor.bfloat16() for name, tensor in load_file(shard).items()}
            tiny.save_file(state, shard, metadata={"format": "pt"})
        with transformers_engine(folder, files(tmp_path), accelerator="cpu") as engine:
            assert {p.dtype for p in engine.live.weights.views.values()} == {torch.bfloat16}

    def test_its_configuration(self, published: Path) -> None:
        config = native_config(published)
        assert (config.rms_norm_eps, config.vision_config.layer_norm_eps) == (1e-5, 1e-6)
        assert (config.template_version, config.vision_config.patches) == ("chat", native.PATCHES)
        assert not hasattr(config, "auto_map")
        assert config.eos_token_id == 2

    def test_cogvlm2_is_not_taken_for_cogvlm(self, tmp_path: Path) -> None:
        folder = native.save_cogvlm(tmp_path / "second", num_multi_query_heads=8)
        engine = transformers_engine(folder, files(tmp_path))
        with pytest.raises(AdammsError, match=r"second: transformers cannot load its processor .*CogVLM2"):
            next(engine.generate([Example("0", "t", "q")]))

    def test_class_or_model_type_decides(self, tmp_path: Path) -> None:
        for content, name in (
            ({"architectures": ["CogVLMForCausalLM"], "model_type": "other"}, "cogvlm"),
            ({"model_type": "cogvlm"}, "cogvlm"),
            ({"architectures": ["LlamaForCausalLM"], "model_type": "cogvlm"}, None),
            ({"architectures": ["LlamaForCausalLM"]}, None),
        ):
            (tmp_path / "config.json").write_text(json.dumps(content))
            found = native_family(tmp_path)
            assert (found.model_type if found else None) == name
        (tmp_path / "config.json").unlink()
        assert native_family(tmp_path) is None
        assert native_config(tmp_path) is None

    def test_a_missing_tokenizer_is_asked_for_by_key_and_name(self, published: Path) -> None:
        with pytest.raises(
            AdammsError, match=r"model\.target\.tokenizer=lmsys/vicuna-7b-v1\.5 is what"
        ) as error:
            load_processor(published)
        assert str(published) in str(error.value)


class TestSavedFolder:
    def test_model_and_processor_survive(
        self, published: Path, tokenizer: Path, tmp_path: Path, warnings_of_transformers: list[str]
    ) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        register()
        register()  # the second time changes nothing
        model = AutoModelForImageTextToText.from_pretrained(published, config=native_config(published))
        processor = load_processor(published, PromptFiles(tokenizer, "vqa"))
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        stored = load_file(tmp_path / "model.safetensors")
        assert set(stored) == set(native.cogvlm_shapes())
        config = json.loads((tmp_path / "config.json").read_text())
        assert (config["model_type"], config["architectures"]) == ("cogvlm", ["CogVLMForCausalLM"])
        assert "auto_map" not in config

        again = AutoModelForImageTextToText.from_pretrained(tmp_path)
        for name, tensor in model.state_dict().items():
            tiny.assert_same_bits(again.state_dict()[name], tensor)
        for loaded in (AutoProcessor.from_pretrained(tmp_path), load_processor(tmp_path)):
            assert type(loaded) is type(processor)
            assert (loaded.image_size, loaded.patch_size) == (native.CANVAS, native.PATCH)
            assert loaded.chat_template == processor.templates["vqa"]
            assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
        assert warnings_of_transformers == []

    def test_a_published_folder_with_a_tokenizer_beside_it(self, published: Path, tmp_path: Path) -> None:
        folder = tmp_path / "both"
        folder.mkdir()
        native.save_tokenizer(folder)
        (folder / "config.json").write_bytes((published / "config.json").read_bytes())
        processor = load_processor(folder)
        assert processor.image_tokens == native.PATCHES + 2
        assert processor.chat_template == processor.templates["chat"]

    def test_nobody_is_asked_whether_to_run_remote_code(
        self, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A lone tokenizer.json makes transformers look for more in config.json."""
        folder = tmp_path / "lone"
        folder.mkdir()
        native.save_tokenizer(folder)
        (folder / "tokenizer_config.json").unlink()
        for file in ("config.json", "configuration_cogvlm.py"):
            (folder / file).write_bytes((published / file).read_bytes())
        with pytest.raises(AdammsError, match="begin with the begin-of-text token; the tokenizer has none"):
            load_processor(folder)
        assert "custom code" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen9_vl"])
def test_a_model_with_remote_code_loads_without_it_or_not_at_all(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks on the terminal where it is told neither yes nor no."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    folder = tiny.save_qwen2_vl(tmp_path / "model")
    own = {"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model"}
    file = folder / "config.json"
    config = json.loads(file.read_text()) | {"auto_map": own, "model_type": model_type}
    file.write_text(json.dumps(config))
    (folder / "code.py").write_text(TRAP)
    if model_type == "qwen2_vl":
        assert type(load_model(folder)).__module__.startswith("transformers.")
    else:
        with pytest.raises(AdammsError, match="contains custom code"):
            load_model(folder)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, "AutoModelForCausalLM"),
        ({"model_type": "qwen2"}, "AutoModelForCausalLM"),
        (
            {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl"},
            "AutoModelForImageTextToText",
        ),
        ({"model_type": "qwen2_vl"}, "AutoModelForImageTextToText"),
        # A model type of both kinds.
        ({"architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5"}, "AutoModelForCausalLM"),
        ({"model_type": "qwen3_5"}, "AutoModelForImageTextToText"),
        # Models that hear, and that speak.
        ({"model_type": "qwen2_audio"}, "AutoModelForMultimodalLM"),
        (
            {"architectures": ["VoxtralForConditionalGeneration"], "model_type": "voxtral"},
            "AutoModelForMultimodalLM",
        ),
        ({"architectures": ["Qwen2_5OmniModel"], "model_type": "qwen2_5_omni"}, "AutoModelForMultimodalLM"),
        ({"model_type": "qwen2_5_omni_thinker"}, "AutoModelForImageTextToText"),
        ({"model_type": "gemma3n"}, "AutoModelForImageTextToText"),
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM"),
        ({"architectures": ["CambrianLlamaForCausalLM"], "model_type": "x"}, "AutoModelForImageTextToText"),
        ({}, "AutoModelForImageTextToText"),
    ],
)
def test_the_class_that_loads_a_model(config: dict[str, object], expected: str) -> None:
    assert auto_class(config) == expected


class TestPromptFiles:
    def test_a_template_by_name_by_file_and_misspelt(
        self, published: Path, tokenizer: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "own.jinja"
        file.write_text("{{ messages[0].role }}")
        for wanted, expected in (("base", None), (str(file), file.read_text())):
            processor = load_processor(published, PromptFiles(tokenizer, wanted))
            assert processor.chat_template == (expected or processor.templates[wanted])
        with pytest.raises(AdammsError, match=r"or one of: chat, vqa, base\. Nearest: vqa"):
            load_processor(published, PromptFiles(tokenizer, "vqaa"))

    def test_the_engine_answers_for_what_it_was_given(self, published: Path, tmp_path: Path) -> None:
        """Answers of one prompt must not be found in the store for another."""
        plain = PromptFiles(native.save_tokenizer(tmp_path / "a"))
        other = native.save_tokenizer(tmp_path / "b")
        same = transformers_engine(published, PromptFiles(other)).identity
        assert transformers_engine(published, plain).identity == same
        text = (other / "tokenizer.json").read_text()
        (other / "tokenizer.json").write_text(text.replace("digit", "number"))
        identities = [
            transformers_engine(published, files).identity
            for files in (
                None,
                plain,
                PromptFiles(other),
                PromptFiles(other, "vqa"),
                PromptFiles(other, "base"),
            )
        ]
        assert len(set(identities)) == 5

    def test_another_tokenizer_does_not_go_into_a_processor_that_has_one(
        self, tokenizer: Path, tmp_path: Path
    ) -> None:
        processor = models.target_processor()
        models.save(models.target(), models.TARGET_NAMES, processor, tmp_path / "qwen2_vl")
        with pytest.raises(AdammsError, match="it has a processor with a tokenizer of its own"):
            load_processor(tmp_path / "qwen2_vl", PromptFiles(tokenizer))


def files(folder: Path) -> PromptFiles:
    return PromptFiles(native.save_tokenizer(folder / "tokenizer"))


def test_every_family_says_what_it_is() -> None:
    for family in families():
        assert family.configuration_class.model_type == family.model_type
        assert family.model_class.__name__ in family.architectures
        assert family.model_class.config_class is family.configuration_class
        assert family.processor_class.templates
    assert "cogvlm" in {family.model_type for family in families()}


def test_of_an_omni_model_the_thinker_is_loaded_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers would list the talker's tensors as unexpected, as if the model were broken."""
    save_tiny("qwen3_omni_moe", tmp_path)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        model = load_model(tmp_path)
    finally:
        logger.removeHandler(caplog.handler)
    assert type(model).__name__ == "Qwen3OmniMoeThinkerForConditionalGeneration"
    assert caplog.messages == []
