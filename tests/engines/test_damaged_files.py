"""Damaged files beside the weights: an error that names the file and what was found, never a traceback."""

import json
import shutil
from pathlib import Path

import pytest
from configured_engines import transformers_engine

from adamms.data.example import Example
from adamms.demo import models
from adamms.engines.prompt import load_processor
from adamms.errors import AdammsError
from adamms.models.registration import load_model

DAMAGE = {
    "a list": (b"[]", "expected a JSON object, found list"),
    "a number": (b"5", "expected a JSON object, found int"),
    "null": (b"null", "expected a JSON object, found NoneType"),
    "no JSON": (b"{'a': 1}", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "another encoding": ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
    "deep": (b'{"a":' * 100_000, "not valid JSON"),
}
PROCESSORS = (
    *("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "tokenizer.json", "added_tokens.json", "chat_template.json"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    models.save(models.target(), models.TARGET_NAMES, models.target_processor(), folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.mark.parametrize("name", PROCESSORS)
def test_of_a_processor(name: str, folder: Path) -> None:
    for content, message in DAMAGE.values():
        (folder / name).write_bytes(content)
        with pytest.raises(AdammsError) as caught:
            load_processor(folder)
        assert str(caught.value).startswith(f"{folder / name}: {message}")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_of_a_model(name: str, folder: Path) -> None:
    for content, message in DAMAGE.values():
        (folder / name).write_bytes(content)
        with pytest.raises(AdammsError) as caught:
            load_model(folder)
        assert str(caught.value).startswith(f"{folder / name}: {message}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architectures": 5}, "architectures is 5; expected a list of class names"),
        ({"architectures": "LlamaForCausalLM"}, "architectures is 'LlamaForCausalLM'; expected a list"),
        ({"architectures": [["a"]]}, "architectures is [['a']]; expected a list of class names"),
        ({"model_type": ["qwen2_vl"]}, "model_type is ['qwen2_vl']; expected a text"),
    ],
)
def test_values_of_config_json(values: dict[str, object], message: str, folder: Path) -> None:
    edit(folder / "config.json", values)
    for load in (load_processor, load_model):
        with pytest.raises(AdammsError) as caught:
            load(folder)
        assert str(caught.value).startswith(f"{folder / 'config.json'}: {message}")


@pytest.mark.parametrize("values", [{"text_config": 5}, {"vision_config": []}, {"model_type": "of tomorrow"}])
def test_what_transformers_finds_in_config_json(values: dict[str, object], folder: Path) -> None:
    edit(folder / "config.json", values)
    with pytest.raises(AdammsError, match="model: transformers cannot load it with Auto"):
        load_model(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token_id": "</s>"}, "eos_token_id is '</s>'; expected the number of a token, or a list"),
        ({"eos_token_id": [1, "x"]}, "eos_token_id is [1, 'x']; expected the number of a token, or a list"),
        ({"eos_token_id": {}}, "eos_token_id is {}; expected the number of a token, or a list"),
        ({"pad_token_id": True}, "pad_token_id is True; expected the number of a token, or a list"),
        ({"max_new_tokens": -1}, "ValueError: `max_new_tokens` must be greater than 0, but is -1."),
        ({"watermarking_config": []}, "AttributeError: "),
        ({"cache_implementation": "x"}, "ValueError: Invalid `cache_implementation`"),
    ],
)
def test_values_of_generation_config_json(values: dict[str, object], message: str, folder: Path) -> None:
    edit(folder / "generation_config.json", values)
    with pytest.raises(AdammsError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder / 'generation_config.json'}: {message}")


def test_nothing_but_special_tokens_is_taken_from_a_generation_config(
    talkative: Path, tmp_path: Path
) -> None:
    """transformers fills what a call leaves open from the model's own: beams, penalties, forced tokens."""
    folder = Path(shutil.copytree(talkative / "target", tmp_path / "model"))
    question = Example("0", "t", "what is the digit?")

    def answer() -> tuple[str, str]:
        with transformers_engine(folder, accelerator="cpu", max_new_tokens=12) as engine:
            [(_, found)] = engine.generate([question])
            return found.text, engine.identity

    edit(folder / "generation_config.json", {"eos_token_id": [], "pad_token_id": -1})
    plain, identity = answer()
    assert plain
    edit(folder / "generation_config.json", {"temperature": 0.0, "do_sample": False})
    assert answer() == (plain, identity)
    for values in ({"num_beams": 3}, {"repetition_penalty": 9.0}, {"num_beams": 0}, {"stop_strings": 5}):
        edit(folder / "generation_config.json", values)
        found, other = answer()
        assert found == plain
        assert other != identity  # what was stored with them was another model's answer


def edit(file: Path, values: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
