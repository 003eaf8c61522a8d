"""What a processor refuses is told by the example's name, before any weight is read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from adamms.data.example import Example
from adamms.engines import askable
from adamms.engines.askable import check_askable, check_images, reserved_tokens
from adamms.engines.base import Limits
from adamms.engines.prompt import load_processor
from adamms.engines.template import TemplateRenderer
from adamms.errors import AdammsError


@pytest.fixture(scope="module")
def target(miniature: Path) -> Any:
    return load_processor(miniature / "target")


def picture(file: Path, size: tuple[int, int] = (32, 32)) -> Path:
    Image.new("RGB", size).save(file)
    return file


def asked(question: str = "largest digit", image: Path | None = None, line: int = 1) -> Example:
    return Example(str(line), "t", question, image, f"data.jsonl line {line}")


def refusal(processor: Any, *examples: Example) -> str:
    with pytest.raises(AdammsError) as caught:
        check_askable("model A", processor, examples, lambda _: None)
    return str(caught.value)


def test_good_examples_pass_and_every_size_is_tried_once(
    target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, advanced = [], []
    plain = askable._try
    monkeypatch.setattr(askable, "_try", lambda *given: [tried.append(given[2]), plain(*given)])
    images = [picture(tmp_path / f"{i}.png", (32 + i % 2, 32)) for i in range(6)]
    check_askable("a", target, [asked(), asked(), *(asked(image=i) for i in images)], advanced.append)
    assert tried == [(), ((32, 32),), ((33, 32),)]
    assert sum(advanced) == 8


def test_a_picture_of_a_shape_that_the_processor_refuses(target: Any, tmp_path: Path) -> None:
    wide = picture(tmp_path / "wide.png", (2000, 4))
    assert refusal(target, asked(), asked(image=wide, line=7)) == (
        "model A cannot be asked:\n  data.jsonl line 7: the processor refuses the prompt with an image of "
        "2000 x 4 pixels (ValueError: absolute aspect ratio must be smaller than 200, got 500.0)"
    )


def test_an_image_for_a_model_that_takes_none(target: Any, tmp_path: Path) -> None:
    """A language model's tokenizer, or the processor of a model that hears, is asked about text alone."""
    examples = [asked(line=1), asked(image=picture(tmp_path / "a.png"), line=2)]
    check_askable("a", target, examples[:1], lambda _: None, limits=Limits(images=0))
    with pytest.raises(AdammsError, match=r"^a cannot be asked:\n  data.jsonl line 2: it has an image, and"):
        check_askable("a", target, examples, lambda _: None, limits=Limits(images=0))


def test_more_images_than_a_prompt_may_have(target: Any, tmp_path: Path) -> None:
    one = picture(tmp_path / "a.png")
    both = Example("2", "t", "<image> or <image>?", one, "data.jsonl line 2", (one,))
    check_askable("a", target, [both], lambda _: None, limits=Limits(images=2))
    with pytest.raises(
        AdammsError, match=r"line 2: it has 2 images, .* may have 1: engine\.images_per_prompt=2"
    ):
        check_askable("a", target, [asked(image=one), both], lambda _: None, limits=Limits(images=1))


@pytest.mark.parametrize(
    "token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_end|>", "<|endoftext|>"]
)
def test_control_tokens_in_a_question(target: Any, token: str) -> None:
    told = refusal(target, asked(line=1), asked(f"what is {token}?", line=2))
    assert f"data.jsonl line 2: the question has '{token}', which the model takes for a control token" in told
    assert "line 1" not in told


def test_each_model_has_control_tokens_of_its_own(miniature: Path, target: Any) -> None:
    """The demo's models share a tokenizer; the placeholder of an image is another one."""
    donor = load_processor(miniature / "donor")
    question = [asked("<image> is what?")]
    check_askable("target", target, question, lambda _: None)
    assert "the question has '<image>'" in refusal(donor, *question)


def test_ordinary_words_are_no_control_tokens_even_if_a_tokenizer_says_so(target: Any) -> None:
    named = {"pad_token": "!", "eos_token": "</s>", "extra": ["<a>"]}

    class Processor:
        tokenizer = SimpleNamespace(
            special_tokens_map=named, all_special_tokens=["!", "</s>", "<|box_start|>"]
        )
        image_token = "<image>"

        chat_template = "USER! {{ messages }}"
        template_renderer = TemplateRenderer({}, "here")

    found = reserved_tokens(Processor())
    assert found is not None
    assert [text for text in ("a!", "</s>", "<|box_start|>", "a</s>b") if found.search(text)] == [
        "</s>",
        "a</s>b",
    ]


def test_what_does_not_decode_and_at_most_five_are_told(target: Any, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    whole = picture(tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    bad = [
        asked(image=tmp_path / name, line=line) for line, name in enumerate(("text.png", "cut.png", "no.png"))
    ]
    told = refusal(target, *bad)
    assert [line.split(":")[0] for line in told.splitlines()[1:]] == [
        f"  data.jsonl line {i}" for i in range(3)
    ]
    assert "cut.png does not decode" in told
    with pytest.raises(AdammsError, match="the data cannot be asked"):
        check_images(bad, lambda _: None)
    assert len(refusal(target, *bad, *bad, *bad).splitlines()) == 6


def test_a_tokenizer_alone_renders_the_prompts(target: Any, tmp_path: Path) -> None:
    """As of models that only vLLM processes images for."""
    tokenizer = target.tokenizer
    tokenizer.chat_template, tokenizer.template_renderer = target.chat_template, target.template_renderer
    check_askable("a", tokenizer, [asked(image=picture(tmp_path / "a.png", (2000, 4)))], lambda _: None)
    assert "control token" in refusal(tokenizer, asked("<|im_end|>"))


def test_a_template_that_fails_is_told(miniature: Path) -> None:
    processor = load_processor(miniature / "target")
    processor.chat_template = "{{ raise_exception('no') }}"
    assert "its chat template fails: no" in refusal(processor, asked())
