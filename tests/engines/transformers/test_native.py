"""Native models in the transformers engine: in place they answer exactly as the written checkpoint."""

from collections.abc import Callable
from pathlib import Path

import native_models as native
import numpy as np
import pytest
import torch
from configured_engines import transformers_engine
from PIL import Image
from tiny_merges import interpolated, published

from adamms.data.example import Example
from adamms.engines.answer import Answer, texts
from adamms.engines.base import PromptFiles
from adamms.engines.image import open_image
from adamms.engines.prompt import load_processor, prompt
from adamms.engines.transformers.engine import TransformersEngine
from adamms.models.registration import native_config, register

TARGETS: dict[str, Callable[..., Path]] = {"cogvlm": native.save_cogvlm}
SETTINGS = {"batch_size": 4, "max_new_tokens": 5, "accelerator": "cpu"}


@pytest.fixture(scope="module", params=TARGETS)
def pair(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """`target` as published, `donor` of LLaVA-1.5, and the tokenizer that the target's folder lacks."""
    folder = tmp_path_factory.mktemp(request.param)
    TARGETS[request.param](folder / "target", seed=1)
    native.save_llava(folder / "donor", seed=2)
    native.save_tokenizer(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    """Images and text alone in turn, of different lengths."""
    folder = tmp_path_factory.mktemp("images")
    made = []
    for i in range(10):
        file = folder / f"{i}.png"
        values = np.random.default_rng(i).integers(0, 256, (8 + i, 20, 3), dtype=np.uint8)
        Image.fromarray(values).save(file)
        question = " ".join(native.WORDS[(i + k) % len(native.WORDS)] for k in range(1 + i % 4))
        made.append(Example(str(i), "t", question, None if i % 3 == 2 else file))
    return tuple(made)


def engine(pair: Path, folder: Path | None = None) -> TransformersEngine:
    files = PromptFiles(pair / "tokenizer")
    return transformers_engine(folder or pair / "target", files, **SETTINGS)


def plain_answers(folder: Path, tokenizer: Path, examples: tuple[Example, ...]) -> dict[str, str]:
    """One example at a time through the Auto class, in plain transformers."""
    from transformers import AutoModelForImageTextToText

    register()
    model = AutoModelForImageTextToText.from_pretrained(folder, config=native_config(folder))
    processor = load_processor(folder, PromptFiles(tokenizer))
    answers = {}
    for example in examples:
        images = None if example.image is None else [open_image(example.image)]
        inputs = processor(text=[prompt(processor, example)], images=images, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=SETTINGS["max_new_tokens"], do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :]
        answers[example.id] = processor.batch_decode(new, skip_special_tokens=True)[0].strip()
    return answers


def test_live_model_answers_as_the_written_folder_does_when_loaded_anew(
    pair: Path, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    seen = []
    with engine(pair) as live:
        for alpha in (0.5, 0.0):
            merged = interpolated(pair / "target", pair / "donor", alpha)
            live.load(merged)
            answers = dict(live.generate(examples))
            written = published(merged, tmp_path / f"{alpha}")
            with engine(pair, written) as fresh:
                assert dict(fresh.generate(examples)) == answers
            assert plain_answers(written, pair / "tokenizer", examples) == texts(answers)
            assert len(set(answers.values())) > 3  # else equal answers would say nothing
            seen.append(answers)
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])


def test_swapping_back_gives_the_first_answers(pair: Path, examples: tuple[Example, ...]) -> None:
    with engine(pair) as live:
        untouched = dict(live.generate(examples))
        live.load(interpolated(pair / "target", pair / "donor", 0.6))
        assert dict(live.generate(examples)) != untouched
        live.load(interpolated(pair / "target", pair / "donor", 0.0))
        assert dict(live.generate(examples)) == untouched


def test_live_parameters_are_the_merged_tensors_and_the_rest_stays(pair: Path) -> None:
    merged = interpolated(pair / "target", pair / "donor", 0.3)
    with engine(pair) as live:
        live.load(merged)
        parameters = live.live.weights.views
        for name, tensor in merged.tensors():
            if not name.endswith("inv_freq"):
                assert torch.equal(parameters[name].detach(), tensor), name
        stored = {name for name in merged.target.tensors if not name.endswith("inv_freq")}
        assert set(parameters) == stored


def test_answers_do_not_depend_on_the_batch(pair: Path, examples: tuple[Example, ...]) -> None:
    with engine(pair) as live:
        together = dict(live.generate(examples))
        alone: dict[str, Answer] = {}
        for example in examples:
            alone |= dict(live.generate((example,)))
    assert alone == together
