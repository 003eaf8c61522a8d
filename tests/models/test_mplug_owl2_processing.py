"""mPLUG-Owl2's processor: the published prompts, tokens around images, and the published pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_mplug_owl2 as tiny
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from adamms.data.example import Example
from adamms.engines.base import PromptFiles
from adamms.engines.prompt import load_processor, prompt
from adamms.errors import AdammsError
from adamms.models.mplug_owl2.processing import MPLUGOwl2Processor
from adamms.models.registration import register

ID = {word: index for index, word in enumerate(tiny.WORDS)}
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: no processor_config.json and no chat template."""
    folder = tmp_path_factory.mktemp("processor")
    tiny.write_checkpoint(folder, tiny.config_json(), {})
    return tiny.write_preprocessing(folder)


@pytest.fixture(scope="module")
def processor(folder: Path) -> MPLUGOwl2Processor:
    return load_processor(folder)


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(colours).convert(mode)


def conversation(*content: dict[str, str]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


IMAGE = {"type": "image"}
QUESTION = {"type": "text", "text": "read red"}


def render(processor: Any, messages: list[dict[str, Any]], template: str | None = None) -> str:
    rendered: str = processor.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return rendered


class TestPrompts:
    def test_the_default_is_the_published_conversation(self, processor) -> None:
        assert render(processor, conversation(IMAGE, QUESTION)) == "USER: <|image|>read red ASSISTANT:"
        assert render(processor, conversation(QUESTION)) == "USER: read red ASSISTANT:"
        assert prompt(processor, Example("0", "t", "read red")) == "USER: read red ASSISTANT:"

    def test_turns_end_as_in_the_published_conversation(self, processor) -> None:
        messages = [
            *conversation(IMAGE, QUESTION),
            {"role": "assistant", "content": "7"},
            {"role": "user", "content": "find blue"},
        ]
        expected = "USER: <|image|>read red ASSISTANT: 7</s>USER: find blue ASSISTANT:"
        assert render(processor, messages) == expected

    def test_the_template_of_visual_questions(self, folder: Path) -> None:
        """evaluate_vqa.py: `USER: <|image|>{} Answer the question using ... phrase. ASSISTANT: `."""
        processor = load_processor(folder, PromptFiles(chat_template="vqa"))
        assert render(processor, conversation(IMAGE, QUESTION)) == (
            "USER: <|image|>read red Answer the question using a single word or phrase. ASSISTANT: "
        )

    def test_any_template_can_be_given(self, processor, folder: Path, tmp_path: Path) -> None:
        template = "<|image|>{{ messages[0]['content'][1]['text'] }}"
        assert render(processor, conversation(IMAGE, QUESTION), template) == "<|image|>read red"
        (tmp_path / "mine.jinja").write_text(template)
        chosen = load_processor(folder, PromptFiles(chat_template=str(tmp_path / "mine.jinja")))
        assert render(chosen, conversation(IMAGE, QUESTION)) == "<|image|>read red"

    def test_other_roles_are_errors(self, processor) -> None:
        from jinja2 import TemplateError

        with pytest.raises(TemplateError, match="knows the roles user and assistant, not system"):
            render(processor, [{"role": "system", "content": "be brief"}])


class TestTokens:
    def test_an_image_is_its_number_of_fillers_and_only_the_first_piece_has_a_bos(self, processor) -> None:
        text = "USER: <|image|>read red <|image|>find ASSISTANT:"
        inputs = processor(text=text, images=[picture(9, 9), picture(9, 9)])
        five = [0] * tiny.IMAGE_LENGTH
        words = [ID["USER:"], *five, ID["read"], ID["red"], *five, ID["find"], ID["ASSISTANT:"]]
        assert inputs["input_ids"].tolist() == [[ID["<s>"], *words]]
        one = [1] * tiny.IMAGE_LENGTH
        assert inputs["token_type_ids"].tolist() == [[0, 0, *one, 0, 0, *one, 0, 0]]
        assert inputs["attention_mask"].tolist() == [[1] * 16]
        assert np.shape(inputs["pixel_values"]) == (2, 3, tiny.SIDE, tiny.SIDE)

    def test_every_piece_of_text_is_tokenised_by_itself(self, processor, monkeypatch) -> None:
        """Sentencepiece marks the start of a text: what follows an image is a text of its own."""
        seen = []
        tokens = processor._tokens

        def record(piece: str, starts: bool) -> list[int]:
            seen.append((piece, starts))
            return tokens(piece, starts)

        monkeypatch.setattr(processor, "_tokens", record)
        processor(text="USER: <|image|>read <|image|>", images=[picture(9, 9), picture(9, 9)])
        assert seen == [("USER: ", True), ("read ", False)]

    def test_a_prompt_that_starts_with_an_image_has_its_bos_before_the_text(self, processor) -> None:
        """As the published tokenisation has it."""
        inputs = processor(text="<|image|>read red", images=picture(9, 9))
        assert inputs["input_ids"].tolist() == [[*[0] * tiny.IMAGE_LENGTH, ID["<s>"], ID["read"], ID["red"]]]

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding(self, processor, side: str) -> None:
        inputs = processor(
            text=["USER: <|image|>read", "find blue"],
            images=[picture(9, 9)],
            padding=True,
            padding_side=side,
            return_tensors="pt",
        )
        short, gap = [ID["<s>"], ID["find"], ID["blue"]], [0] * 5
        expected = [*gap, *short] if side == "left" else [*short, *gap]
        assert inputs["input_ids"].shape == (2, 8)
        assert inputs["input_ids"][1].tolist() == expected
        assert inputs["token_type_ids"][1].tolist() == [0] * 8
        mask = [*gap, 1, 1, 1] if side == "left" else [1, 1, 1, *gap]
        assert inputs["attention_mask"].tolist() == [[1] * 8, mask]

    def test_text_without_images_has_no_pixels(self, processor) -> None:
        inputs = processor(text=["read red"], images=[], return_tensors="pt")
        assert set(inputs) == {"input_ids", "token_type_ids", "attention_mask"}
        assert set(processor.model_input_names) == {*inputs, "pixel_values"}

    def test_the_chat_template_s_own_tokenisation(self, processor) -> None:
        messages = conversation({"type": "image", "image": picture(9, 9)}, QUESTION)
        inputs = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        expected = processor(text=render(processor, messages), images=picture(9, 9), return_tensors="pt")
        assert inputs.keys() == expected.keys()
        assert all(torch.equal(inputs[key], expected[key]) for key in expected)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"text": "<|image|>read"}, "1 times; 0 images were given"),
            ({"text": "read", "images": [picture(4, 4)]}, "0 times; 1 images were given"),
            ({"images": [picture(4, 4)]}, "takes text and images"),
            ({"text": "read", "padding": "max_length"}, "padding is 'max_length'; expected one of"),
            ({"text": "read", "padding_side": "top"}, "padding_side is 'top'; expected one of: left, right"),
        ],
    )
    def test_what_does_not_fit_is_an_error(self, processor, arguments, message: str) -> None:
        with pytest.raises(AdammsError, match=message):
            processor(**arguments)


class TestPixels:
    @pytest.mark.parametrize(
        "image", [picture(40, 17), picture(13, 50), picture(24, 24), picture(31, 20, mode="L")]
    )
    def test_are_those_of_the_published_preprocessing(self, processor, image: Image.Image) -> None:
        """Stretched to a square, then to the model's size, both bicubic; CLIP's mean and deviation."""
        colours = image.convert("RGB")
        longer = max(image.size)
        small = colours.resize((longer, longer)).resize((tiny.SIDE, tiny.SIDE), Image.Resampling.BICUBIC)
        expected = ((np.asarray(small) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)
        found = processor(text="<|image|>", images=image, return_tensors="pt")["pixel_values"][0]
        assert found.dtype == torch.float32
        assert np.abs(found.numpy() - expected).max() < 1e-5  # float32 beside float64

    def test_arrays_are_images_too(self, processor) -> None:
        image = picture(40, 17)
        found = [
            processor(text="<|image|>", images=form)["pixel_values"] for form in (image, np.asarray(image))
        ]
        assert np.array_equal(*found)


class TestFiles:
    def test_saved_and_loaded_again(self, processor, tmp_path: Path) -> None:
        register()
        processor.save_pretrained(tmp_path)
        tiny.write_checkpoint(tmp_path, tiny.config_json(), {})
        for again in (AutoProcessor.from_pretrained(tmp_path), load_processor(tmp_path)):
            assert type(again) is MPLUGOwl2Processor
            assert again.image_seq_length == tiny.IMAGE_LENGTH
            text = render(again, conversation(IMAGE, QUESTION))
            assert text == render(processor, conversation(IMAGE, QUESTION))
            one, two = (p(text=text, images=picture(9, 7)) for p in (processor, again))
            assert torch.equal(one["input_ids"], two["input_ids"])
            assert np.array_equal(one["pixel_values"], two["pixel_values"])

    def test_published_folder_through_the_auto_class(self, folder: Path) -> None:
        """Without a config of its own it takes the published number of embeddings."""
        register()
        processor = AutoProcessor.from_pretrained(folder)
        assert type(processor) is MPLUGOwl2Processor
        assert processor.image_seq_length == 65

    def test_settings_of_the_images_come_from_the_configuration_where_there_is_no_file(
        self, folder: Path, processor, tmp_path: Path
    ) -> None:
        tiny.write_checkpoint(tmp_path, tiny.config_json(), {})
        bare = load_processor(tmp_path, PromptFiles(tokenizer=folder))
        one, two = (p(text="<|image|>", images=picture(30, 7)) for p in (processor, bare))
        assert np.array_equal(one["pixel_values"], two["pixel_values"])
        assert torch.equal(one["input_ids"], two["input_ids"])

    def test_a_preprocessor_of_another_size_is_an_error(self, tmp_path: Path) -> None:
        tiny.write_checkpoint(tmp_path, tiny.config_json(), {})
        tiny.write_preprocessing(tmp_path, side=16)
        with pytest.raises(AdammsError, match=r"makes images of 16 pixels; visual_config\.visual_model\."):
            load_processor(tmp_path)

    def test_a_tokenizer_without_unknown_and_padding_tokens_fills_with_its_end(
        self, processor, folder
    ) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder, unk_token=None)
        assert tokenizer.unk_token_id is None
        assert MPLUGOwl2Processor(processor.image_processor, tokenizer).filler == ID["</s>"]


@pytest.fixture(scope="module")
def with_llama_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but a tokenizer.model, trained here with the settings of Llama's."""
    from sentencepiece import SentencePieceTrainer

    folder = tmp_path_factory.mktemp("sentencepiece")
    corpus = folder / "corpus.text"
    corpus.write_text("USER: read red find blue largest digit ASSISTANT: yes no\n" * 40)
    SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": None,
        "legacy": False,
        "tokenizer_class": "LlamaTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "preprocessor_config.json").write_text(json.dumps(tiny.clip_settings(tiny.SIDE)))
    return tiny.write_checkpoint(folder, tiny.config_json(), {})


@pytest.mark.parametrize("template", ["chat", "vqa"])
def test_text_around_images_is_tokenised_as_by_sentencepiece_itself(
    with_llama_tokenizer: Path, template: str
) -> None:
    """The space before an image and at the end of the prompt are tokens; pieces start anew."""
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(with_llama_tokenizer / "tokenizer.model"))
    processor = load_processor(with_llama_tokenizer, PromptFiles(chat_template=template))
    before, after = render(processor, conversation(IMAGE, QUESTION)).split("<|image|>")
    inputs = processor(text=f"{before}<|image|>{after}", images=picture(9, 9))
    image = [0] * tiny.IMAGE_LENGTH
    assert inputs["input_ids"].tolist() == [[1, *pieces.encode(before), *image, *pieces.encode(after)]]
    assert pieces.id_to_piece(pieces.encode(before)[-1]) == "▁"
    ends_with_a_space = pieces.id_to_piece(pieces.encode(after)[-1]) == "▁"
    assert ends_with_a_space == (template == "vqa")
