"""CogVLM's prompts, token types and pixels, against their description."""

from pathlib import Path

import native_models as native
import numpy as np
import pytest
import torch
from PIL import Image

from adamms.data.example import Example
from adamms.engines.base import PromptFiles
from adamms.engines.prompt import load_processor, prompt
from adamms.errors import AdammsError
from adamms.models.cogvlm.processing import CogVLMProcessor

IMAGE = native.PATCHES + 2


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> CogVLMProcessor:
    folder = tmp_path_factory.mktemp("processor")
    model, tokenizer = native.save_cogvlm(folder / "model"), native.save_tokenizer(folder / "tokenizer")
    loaded = load_processor(model, PromptFiles(tokenizer))
    assert isinstance(loaded, CogVLMProcessor)
    return loaded


def picture(seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (9, 17, 3), dtype=np.uint8)
    return Image.fromarray(values)


class TestPrompts:
    @pytest.mark.parametrize(
        ("version", "expected"),
        [
            ("chat", "Question: what is the digit? Answer:"),
            ("vqa", "Question: what is the digit? Short answer:"),
            ("base", "what is the digit?"),
        ],
    )
    def test_of_one_question(self, processor: CogVLMProcessor, version: str, expected: str) -> None:
        processor.chat_template = processor.templates[version]
        assert prompt(processor, Example("0", "t", "what is the digit?")) == expected
        seen = prompt(processor, Example("0", "t", "what is the digit?", Path("x.png")))
        assert seen == f"<image>{expected}"

    @pytest.mark.parametrize(("version", "word"), [("chat", "Answer"), ("vqa", "Short answer")])
    def test_of_a_conversation(self, processor: CogVLMProcessor, version: str, word: str) -> None:
        turns = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " a\nb "}]},
            {"role": "assistant", "content": "c"},
            {"role": "user", "content": [{"type": "text", "text": "d"}]},
        ]
        rendered = processor.apply_chat_template(
            turns, chat_template=processor.templates[version], add_generation_prompt=True, tokenize=False
        )
        assert rendered == f"<image>Question:  a\nb  {word}: c\nQuestion: d {word}:"

    def test_the_version_in_the_configuration_is_the_default(self, tmp_path: Path) -> None:
        files = PromptFiles(native.save_tokenizer(tmp_path / "tokenizer"))
        for version in CogVLMProcessor.templates:
            folder = native.save_cogvlm(tmp_path / version, template_version=version)
            assert load_processor(folder, files).chat_template == CogVLMProcessor.templates[version]
        wrong = native.save_cogvlm(tmp_path / "wrong", template_version="chatt")
        with pytest.raises(
            AdammsError, match="wrong: template_version is 'chatt'; expected one of: chat, vqa"
        ):
            load_processor(wrong, files)

    def test_what_cogvlm_cannot_take_is_refused(self, processor: CogVLMProcessor) -> None:
        from jinja2.exceptions import TemplateError

        image = {"type": "image"}
        for turns, message in (
            ([{"role": "user", "content": [image, image]}], "one image, not 2"),
            ([{"role": "system", "content": "be brief"}], "not system"),
        ):
            with pytest.raises(TemplateError, match=message):
                processor.apply_chat_template(turns, tokenize=False)


class TestInputs:
    def test_the_image_stands_between_the_begin_token_and_the_text(self, processor: CogVLMProcessor) -> None:
        out = processor(text="<image>Question: what", images=picture())
        text = processor.tokenizer("Question: what", add_special_tokens=False)["input_ids"]
        assert out["input_ids"].tolist() == [[1, *[0] * IMAGE, *text]]
        assert out["token_type_ids"].tolist() == [[0, *[1] * IMAGE, *[0] * len(text)]]
        assert out["attention_mask"].tolist() == [[1] * (1 + IMAGE + len(text))]

    def test_pixels_are_resized_whatever_the_shape_and_normalised(self, processor: CogVLMProcessor) -> None:
        found = processor(text="<image>", images=[picture()])["pixel_values"]
        assert found.shape == (1, 3, native.CANVAS, native.CANVAS)
        square = np.asarray(picture().resize((native.CANVAS, native.CANVAS), Image.Resampling.BICUBIC))
        mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        for channel in range(3):
            expected = (square[..., channel].astype(np.float64) / 255 - mean[channel]) / deviation[channel]
            assert np.abs(found[0, channel].numpy() - expected).max() < 1e-5  # float32 rounding

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_batch_keeps_images_with_their_texts(self, processor: CogVLMProcessor, side: str) -> None:
        texts = ["what", "<image>what is", "the digit of the colour", "<image>the"]
        out = processor(
            text=texts, images=[picture(1), picture(2)], padding=True, padding_side=side, return_tensors="pt"
        )
        for row, words in enumerate(texts):
            images = [picture(row // 2 + 1)] if words.startswith("<image>") else None
            alone = processor(text=words, images=images)
            mask = out["attention_mask"][row].bool()
            for name in ("input_ids", "token_type_ids"):
                assert torch.equal(out[name][row][mask], alone[name][0])
            if images:
                assert torch.equal(out["pixel_values"][row // 2], alone["pixel_values"][0])
            assert bool(mask[-1 if side == "left" else 0])
        assert "pixel_values" not in processor(text="what")

    def test_decodes_through_the_tokenizer(self, processor: CogVLMProcessor) -> None:
        assert processor.batch_decode(torch.tensor([[5, 2, 0]]), skip_special_tokens=True) == ["answer"]

    def test_what_does_not_fit_is_refused(self, processor: CogVLMProcessor) -> None:
        for arguments, message in (
            ({"text": ["<image>what"]}, "the text has <image> 1 times; 0 images were given"),
            ({"text": ["what <image>"], "images": [picture()]}, "the text has <image> 0 times; 1 images"),
            ({"text": ["what", "what is"]}, "need padding=True"),
            ({"images": [picture()]}, "takes text and images"),
        ):
            with pytest.raises(AdammsError, match=message):
                processor(**arguments)
