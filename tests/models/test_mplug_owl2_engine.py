"""mPLUG-Owl2 as the target of `engine=transformers`: candidates are swapped in place."""

import json
from pathlib import Path

import pytest
import tiny
import tiny_mplug_owl2
import torch
from configured import configured
from configured_engines import transformers_engine
from PIL import Image
from safetensors.torch import load_file
from tiny_merges import interpolated, published
from transformers import AutoModelForImageTextToText

from adamms.data.example import Example
from adamms.engines.answer import texts
from adamms.engines.prompt import load_processor, prompt
from adamms.models.registration import register

SHARD_BYTES = 40_000  # several shards
SETTINGS = {"batch_size": 5, "max_new_tokens": 6, "accelerator": "cpu"}


def make_target(folder: Path, dtype: torch.dtype) -> Path:
    """mPLUG-Owl2 as published, with keys and values of all heads, as a donor of LLaVA-1.5's kind has them."""
    config = tiny_mplug_owl2.config_json(num_key_value_heads=tiny_mplug_owl2.HEADS)
    state = tiny_mplug_owl2.state(config, seed=1, dtype=dtype)
    tiny_mplug_owl2.write_checkpoint(folder, config, state | tiny_mplug_owl2.constants(config))
    return tiny_mplug_owl2.write_preprocessing(folder)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_target(tmp_path_factory.mktemp("target"), torch.bfloat16)


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaVA-1.5 in its original format, in float16: a Llama and a projector, the vision tower elsewhere."""
    owl = tiny_mplug_owl2
    state = tiny.llama_state(
        seed=2, hidden=owl.HIDDEN, feed_forward=owl.FEED_FORWARD, vocabulary=len(owl.WORDS)
    )
    state = {
        name: tensor / (tensor.shape[-1] ** 0.5 if tensor.dim() == 2 and "embed" not in name else 1)
        for name, tensor in state.items()
    }
    state |= {f"model.mm_projector.{i}.weight": torch.ones(owl.HIDDEN, owl.HIDDEN) for i in (0, 2)}
    half = {name: tensor.half() for name, tensor in state.items()}
    folder = tmp_path_factory.mktemp("donor")
    owl.write_preprocessing(folder)
    return tiny.write_model(folder, half, "LlavaLlamaForCausalLM", shards=2, torch_zip=True)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    """Questions with images, and two without."""
    seen = configured("data/digits", folder=tmp_path_factory.mktemp("digits"), per_task=2).load().examples
    return (*seen, Example("a", "text", "read red"), Example("b", "text", "largest digit"))


def plain_tokens(folder: Path, examples: tuple[Example, ...]) -> dict[str, list[int]]:
    """Tokens of a model freshly loaded from a folder, one example at a time."""
    register()
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    processor = load_processor(folder)
    found = {}
    for example in examples:
        images = None
        if example.image is not None:
            with Image.open(example.image) as image:
                images = image.convert("RGB")
        inputs = processor(text=prompt(processor, example), images=images, return_tensors="pt")
        output = model.generate(
            **inputs, do_sample=False, max_new_tokens=SETTINGS["max_new_tokens"], pad_token_id=0
        )
        new = output[0, inputs["input_ids"].shape[1] :].tolist()
        found[example.id] = new[: new.index(2)] if 2 in new else new
    return found


def words(tokens: list[int]) -> str:
    special = {0, 1, 2}
    return " ".join(tiny_mplug_owl2.WORDS[token] for token in tokens if token not in special)


def test_the_live_model_answers_as_one_freshly_loaded_from_the_written_folder(
    target: Path, donor: Path, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    """In bfloat16, token by token: the words of a random model are its tokens."""
    seen = set()
    with transformers_engine(target, **SETTINGS) as engine:
        for alpha in (0.5, 0.0):
            merged = interpolated(target, donor, alpha)
            engine.load(merged)
            for name, tensor in merged.tensors(only_mapped=True):
                tiny.assert_same_bits(engine.live.weights.views[name].detach(), tensor)
            live = dict(engine.generate(examples))
            with transformers_engine(
                published(merged, tmp_path / f"{alpha}", SHARD_BYTES), **SETTINGS
            ) as fresh:
                assert live == dict(fresh.generate(examples))
            seen.add(tuple(live.values()))
    assert len(seen) == 2
    assert all(len(set(answers)) > 3 for answers in seen)


def test_the_live_model_answers_as_plain_transformers_one_example_at_a_time(
    donor: Path, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    """In float32, where what is in a batch beside an example does not turn its answer."""
    target = make_target(tmp_path / "target", torch.float32)
    merged = interpolated(target, donor, 0.4)
    with transformers_engine(target, **SETTINGS) as engine:
        engine.load(merged)
        live = dict(engine.generate(examples))
    expected = plain_tokens(published(merged, tmp_path / "written", SHARD_BYTES), examples)
    assert texts(live) == {example: words(tokens) for example, tokens in expected.items()}


def test_every_merged_tensor_is_a_live_parameter_under_its_name(target: Path, donor: Path) -> None:
    merged = {name for name, _ in interpolated(target, donor, 0.3).tensors(only_mapped=True)}
    stored = set(load_names(target))
    with transformers_engine(target, **SETTINGS) as engine:
        live = set(engine.live.weights.views)
    assert merged < live
    assert live == {name for name in stored if "inv_freq" not in name}


def load_names(folder: Path) -> list[str]:
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    return list(index["weight_map"])


def test_a_merged_folder_keeps_constants_and_the_image_part(
    target: Path, donor: Path, tmp_path: Path
) -> None:
    folder = published(interpolated(target, donor, 0.4), tmp_path / "merged", SHARD_BYTES)
    merged: dict[str, torch.Tensor] = {}
    original: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        merged |= load_file(file)
    for file in target.glob("*.bin"):
        original |= torch.load(file, weights_only=True)
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert merged.keys() == original.keys()
    for name, tensor in original.items():
        if any(part in name for part in ("vision_model", "visual_abstractor", "inv_freq")):
            tiny.assert_same_bits(merged[name], tensor)
        else:
            assert not torch.equal(merged[name], tensor), name
