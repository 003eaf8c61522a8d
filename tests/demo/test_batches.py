"""Training inputs are those that the saved processors give for the same images and questions."""

from pathlib import Path

import numpy as np
import torch
from configured import configured
from PIL import Image

from adamms.data.digits import TARGET_SKILLS, Glyphs
from adamms.demo import batches, language, models
from adamms.demo.language import WORDS


def test_streams_repeat_per_seed_and_stage() -> None:
    def first(seed: int, stage: str) -> list[int]:
        rng = batches.generator(seed, stage)
        batch = next(batches.text_batches(rng, WORDS, size=2, turns=3, known_digits=7, rare_share=0.1))
        return batch.ids.flatten().tolist()

    assert first(0, "a") == first(0, "a")
    assert first(0, "a") != first(1, "a")
    assert first(0, "a") != first(0, "b")


def test_the_ancestor_is_asked_about_known_digits_only() -> None:
    words = language.vocabulary()
    stream = batches.text_batches(
        batches.generator(0, "test"), WORDS, size=64, turns=8, known_digits=5, rare_share=0.0
    )
    said = {words[i] for i in next(stream).ids.flatten().tolist()}
    assert {"nine", "even", "odd", "4"} <= said
    assert not said & {"10", "12", "14", "16", "18"}  # doubles of five and more


def test_labels_are_answers_only() -> None:
    glyphs = Glyphs.load("train")
    stream = batches.image_batches(
        batches.generator(0, "test"),
        WORDS,
        glyphs,
        (language.TARGET_IMAGE,) * 4,
        3,
        2,
        TARGET_SKILLS,
        batches.WORDINGS["target"],
        caption=False,
    )
    batch = next(stream)
    assert batch.pixels is not None
    assert batch.pixels.shape == (3, 3, 32, 32)
    assert batch.pixels.min() >= -1
    assert batch.pixels.max() <= 1
    assert (batch.labels != language.IGNORE).sum() == 3 * 2 * 2  # an answer and its end per turn


def test_inputs_equal_the_processors(tmp_path: Path) -> None:
    dataset = configured("data/digits", folder=tmp_path, per_task=1, tasks=["read", "parity"]).load()
    images = [Image.open(e.image) for e in dataset.examples if e.image]
    pixels = torch.stack(
        [torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1 for image in images]
    )
    cases = [
        (models.target_processor(), language.TARGET_IMAGE, batches.TARGET_TOKENS, batches.inputs_for_target),
        (models.donor_processor(), language.DONOR_IMAGE, batches.DONOR_TOKENS, batches.inputs_for_donor),
    ]
    for processor, token, count, inputs in cases:
        chats = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": e.question}]}]
            for e in dataset.examples
        ]
        texts = [processor.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]
        given = processor(text=texts, images=images, padding=True, return_tensors="pt")
        rows = [
            language.dialogue((token,) * count, [(e.question, "")], language.word_ids())[0][:-1]
            for e in dataset.examples
        ]
        assert given["input_ids"].tolist() == rows
        ours = inputs(torch.tensor(rows), pixels)
        assert torch.allclose(ours["pixel_values"], given["pixel_values"].float(), atol=1e-6)
        for name in ("image_grid_thw", "image_sizes"):
            if name in given:
                assert torch.equal(ours[name], given[name])


def test_target_positions_are_those_of_transformers() -> None:
    model = models.target()
    ids = language.word_ids()
    row = [ids[w] for w in (language.VISION_START, *(language.TARGET_IMAGE,) * 4, language.VISION_END)]
    tokens = torch.tensor([[*row, ids["read"], ids["green"]]] * 2)
    ours = batches.inputs_for_target(tokens, torch.zeros(2, 3, 32, 32))
    kinds = (tokens == ids[language.TARGET_IMAGE]).int()
    expected, _ = model.model.get_rope_index(
        tokens, mm_token_type_ids=kinds, image_grid_thw=ours["image_grid_thw"]
    )
    assert torch.equal(ours["position_ids"], expected)
