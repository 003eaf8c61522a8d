"""A text that follows a prompt has the tokens that a model of that chat template gives it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained_tokenizers import ONE, byte_level_bpe, sentencepiece_model
from transformers import AutoTokenizer

from adamms.engines.prompt import Following
from adamms.engines.template import TemplateRenderer

SPOKEN = (
    "{% for m in messages %}{{ m.role.upper() }}: {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
BARE = "{% for m in messages %}{{ m.content }}{% endfor %}"
FAILING = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}Q: "


@pytest.fixture(scope="module", params=[sentencepiece_model, byte_level_bpe])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    make: Callable[..., Any] = request.param
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    make(folder, ONE, 300)
    found = AutoTokenizer.from_pretrained(folder)
    found.template_renderer = TemplateRenderer({}, str(folder))
    return found


@pytest.mark.parametrize(
    ("template", "asked", "text", "whole"),
    [
        (SPOKEN, "USER: the mat? ASSISTANT:", "a cat", "USER: the mat? ASSISTANT: a cat"),
        (BARE, "the c", "at", "the c at"),  # no other word
        (FAILING, "Q:", "a cat", "Q:a cat"),
        (BARE, "a dog<think>", "<think>the cat</think> sat", "a dog<think>the cat</think> sat"),
        (SPOKEN, "ASSISTANT:", "", "ASSISTANT:"),
    ],
)
def test_the_text_has_what_the_whole_has_beyond_the_prompt(
    tokenizer: Any, template: str, asked: str, text: str, whole: str
) -> None:
    tokenizer.chat_template = template
    found, count = Following(tokenizer, "")(asked, text)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert found == whole
    assert tokenizer.decode(ids[len(ids) - count :]).strip() == whole[len(asked) :].strip()
    assert ids[: len(ids) - count] == tokenizer(asked, add_special_tokens=False)["input_ids"]


def test_a_space_that_ends_the_prompt_begins_the_first_token(tokenizer: Any) -> None:
    tokenizer.chat_template = BARE
    found, count = Following(tokenizer, "")("the mat: ", "a cat")
    ids = tokenizer(found, add_special_tokens=False)["input_ids"]
    assert found == "the mat: a cat"
    assert tokenizer.decode(ids[len(ids) - count :]).strip() == "a cat"
