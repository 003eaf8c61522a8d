"""Scores of given texts are those of a plain forward pass of transformers over prompt and text."""

from pathlib import Path
from typing import Any

import pytest
import torch
from configured import configured
from configured_engines import transformers_engine
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from adamms.data.example import Example
from adamms.engines.answer import Answer

SETTINGS = {"batch_size": 3, "max_new_tokens": 6, "accelerator": "cpu", "logprobs": 4}
# float32 in batches of another composition: a hundred times what it makes here.
CLOSE = 1e-4


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    return configured("data/digits", folder=tmp_path_factory.mktemp("digits"), per_task=1).load().examples


def prompt_of(processor: Any, example: Example) -> str:
    content = [{"type": "text", "text": example.question}]
    content = content if example.image is None else [{"type": "image"}, *content]
    found: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return found


def plain_score(model: Any, processor: Any, example: Example, text: str) -> list[torch.Tensor]:
    """The distribution (log-probabilities) before each token of the text, and before its end."""
    tokenizer = getattr(processor, "tokenizer", processor)
    asked = prompt_of(processor, example)
    text = f" {text}" if text else ""  # the tiny models' words are parted by spaces
    count = len(tokenizer(asked + text)["input_ids"]) - len(tokenizer(asked)["input_ids"])
    if example.image is None:
        inputs = dict(tokenizer(asked + text, return_tensors="pt"))
        inputs.pop("token_type_ids", None)
    else:
        with Image.open(example.image) as image:
            inputs = dict(processor(text=[asked + text], images=[image], return_tensors="pt"))
    with torch.inference_mode():
        logits = model(**inputs).logits[0].double().log_softmax(-1)
    return [*logits[len(logits) - count - 1 :]]


@pytest.mark.parametrize("name", ["target", "donor"])
def test_is_the_plain_forward_pass(talkative: Path, examples: tuple[Example, ...], name: str) -> None:
    folder = talkative / name
    said = [(example, text) for example in examples[:4] for text in ("one two", "largest digit of the", "")]
    with transformers_engine(folder, **SETTINGS) as engine:
        scored = dict(engine.score(said))
        assert dict(engine.score(said)) == scored
    assert sorted(scored) == list(range(len(said)))
    model, processor = (
        AutoModelForImageTextToText.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder),
    )
    for place, (example, text) in enumerate(said):
        check(scored[place], text, plain_score(model, processor, example, text), processor, model)


def check(answer: Answer, text: str, expected: list[torch.Tensor], processor: Any, model: Any) -> None:
    tokenizer = getattr(processor, "tokenizer", processor)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [tokenizer.eos_token_id if ends is None else ends]
    end = max(float(expected[-1][one]) for one in ends)
    assert answer.text == text
    assert len(answer.tokens) == len(expected) == len(ids) + 1
    for token, name, row in zip(answer.tokens, ids, expected, strict=False):
        assert token.logprob == pytest.approx(float(row[name]), abs=CLOSE)
    assert answer.tokens[-1].logprob == pytest.approx(end, abs=CLOSE)
    for token, row in zip(answer.tokens, expected, strict=True):
        assert len(token.likeliest) == SETTINGS["logprobs"]
        for one, value in token.likeliest:
            assert value == pytest.approx(float(row[one]), abs=CLOSE)
