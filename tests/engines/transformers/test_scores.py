"""Scores of given texts are those of a plain forward pass of transformers over prompt and text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from askable_types import save_askable
from configured import configured
from configured_engines import transformers_engine
from PIL import Image
from tiny_merges import interpolated
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from adamms.data.example import Example
from adamms.engines.answer import Answer, Token
from adamms.errors import AdammsError

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


@dataclass(frozen=True)
class Row:
    """The log-probabilities of all tokens at one position, and the token that stands there; None: the end."""

    logs: torch.Tensor
    chosen: int | None


def plain_score(model: Any, processor: Any, example: Example, text: str) -> list[Row]:
    """What a plain forward pass says of each token of the text, and of its end.

    Args:
        text: with the white space between it and the prompt.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    asked = prompt_of(processor, example)
    count = len(tokenizer(asked + text)["input_ids"]) - len(tokenizer(asked)["input_ids"])
    if example.image is None:
        inputs = dict(tokenizer(asked + text, return_tensors="pt"))
        inputs.pop("token_type_ids", None)
    else:
        with Image.open(example.image) as image:
            inputs = dict(processor(text=[asked + text], images=[image], return_tensors="pt"))
    with torch.inference_mode():
        logits = model(**inputs).logits[0].double().log_softmax(-1)
    chosen = [*inputs["input_ids"][0].tolist()[len(logits) - count :], None]
    return [Row(*pair) for pair in zip(logits[len(logits) - count - 1 :], chosen, strict=True)]


def close(one: Sequence[Token], other: Sequence[Token]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.logprob == pytest.approx(b.logprob, abs=CLOSE) for a, b in pairs)


@pytest.mark.parametrize("name", ["target", "donor"])
def test_is_the_plain_forward_pass(talkative: Path, examples: tuple[Example, ...], name: str) -> None:
    """Examples with an image and without one, texts of several lengths, in batches of three."""
    folder = talkative / name
    asked = (*examples[:3], replace(examples[3], image=None))
    said = [(example, text) for example in asked for text in ("one two", "largest digit of the", "")]
    with transformers_engine(folder, **SETTINGS) as engine:
        scored = dict(engine.score(said))
        assert dict(engine.score(said)) == scored
        assert close(scored[1].tokens, dict(engine.score(said[1:2]))[0].tokens)  # in a batch of its own
    assert sorted(scored) == list(range(len(said)))
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    for place, (example, text) in enumerate(said):
        check(scored[place], text, plain_score(model, processor, example, text and f" {text}"), model)


def test_of_a_model_of_text_alone(examples: tuple[Example, ...], tmp_path: Path) -> None:
    """Its prompts end in a token of their own, so no space stands before the text."""
    folder = save_askable("deepseek_v3", tmp_path, 0)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template + "{{ '<|end|>' }}")
    said = [
        (replace(example, image=None), text) for example in examples[:2] for text in ("red", "of the sum")
    ]
    with transformers_engine(folder, **SETTINGS) as engine:
        scored = dict(engine.score(said))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for place, (example, text) in enumerate(said):
        check(scored[place], text, plain_score(model, tokenizer, example, text), model)


def test_what_it_answered_scores_as_it_was_generated(talkative: Path, examples: tuple[Example, ...]) -> None:
    """Where the text has the tokens that were generated; a cut answer has no end."""
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        answers = dict(engine.generate(examples))
        scored = dict(engine.score([(example, answers[example.id].text) for example in examples]))
        tokenizer = engine.live.tokenizer
    same = 0
    for place, example in enumerate(examples):
        own = answers[example.id]
        ids = [token.likeliest[0][0] for token in own.tokens]  # greedy
        if ids[: len(ids) - (not own.cut)] == tokenizer(own.text)["input_ids"]:
            assert close(own.tokens, scored[place].tokens[: len(ids)])
            assert len(scored[place].tokens) == len(ids) + bool(own.cut)
            same += 1
    assert same > len(examples) / 3


def test_inputs_are_prepared_once_for_all_candidates(
    talkative: Path, examples: tuple[Example, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [(example, "one two") for example in examples]
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        prepared = []
        plain = engine.live.inputs_with
        monkeypatch.setattr(
            engine.live, "inputs_with", lambda *batch: prepared.append(batch) or plain(*batch)
        )
        first = dict(engine.score(said))
        engine.load(interpolated(talkative / "target", talkative / "donor", 0.5))
        assert dict(engine.score(said)) != first
    assert len(prepared) == -(-len(said) // SETTINGS["batch_size"])


def test_whose_prompt_sees_the_text_cannot_score_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "paligemma"}')
    engine = transformers_engine(tmp_path, **SETTINGS)  # not started: there are no weights
    with pytest.raises(AdammsError, match="a paligemma looks at its whole input at once"):
        dict(engine.score([(Example("0", "t", "largest digit"), "one")]))


def test_a_model_without_an_end_cannot_score(talkative: Path, examples: tuple[Example, ...]) -> None:
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        engine.live.generation.eos_token_id = None
        with pytest.raises(AdammsError, match="names no token that ends an answer"):
            dict(engine.score([(examples[0], "one")]))


def test_what_breaks_names_the_example(talkative: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    said = [(Example(str(i), "t", "largest digit"), "one") for i in range(2)]
    said.append((Example("bad", "t", "largest digit", tmp_path / "text.png"), "one"))
    with (
        transformers_engine(talkative / "target", **SETTINGS) as engine,
        pytest.raises(AdammsError, match=r"example 'bad': .*cannot identify image"),
    ):
        dict(engine.score(said))


def check(answer: Answer, text: str, expected: list[Row], model: Any) -> None:
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    assert answer.text == text
    assert len(answer.tokens) == len(expected)
    for token, row in zip(answer.tokens, expected, strict=True):
        wanted = max(float(row.logs[one]) for one in (ends if row.chosen is None else [row.chosen]))
        assert token.logprob == pytest.approx(wanted, abs=CLOSE)
        assert len(token.likeliest) == SETTINGS["logprobs"]
        for one, value in token.likeliest:
            assert value == pytest.approx(float(row.logs[one]), abs=CLOSE)
