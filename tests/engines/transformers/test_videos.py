"""Questions about videos: engine=transformers answers as plain transformers does with the same frames."""

from pathlib import Path
from typing import Any

import answering
import numpy as np
import pytest
import torch
from configured_engines import transformers_engine
from films import PLACES, asked, filmed_models, frames
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from adamms.data.example import Example, Video
from adamms.demo import language
from adamms.engines.answer import Answer
from adamms.errors import AdammsError

SETTINGS = {"batch_size": 6, "max_new_tokens": 5, "accelerator": "cpu", "logprobs": 3}
FRAMES = 4
IMAGES = {"target": language.TARGET_IMAGE, "donor": language.DONOR_IMAGE}


@pytest.fixture(scope="module")
def filmed(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filmed_models(talkative, tmp_path_factory.mktemp("filmed"))


def plain_inputs(processor: Any, example: Example, fps: float, place: str, image: str) -> Any:
    """What a user of transformers prepares: every frame decoded, sampled by the processor."""
    given: dict[str, Any] = {}
    mark = {"video": place, "image": image}
    if example.id == "placed":
        text = f"largest {mark['video']} digit {mark['image']}"
    else:
        text = (mark["video"] if example.video else mark["image"] if example.image else "") + example.question
    if example.image is not None:
        given["images"] = [Image.open(example.image).convert("RGB")]
    if example.video is not None:
        files = example.video.files
        seen = np.stack([np.asarray(Image.open(f)) for f in files]) if files[1:] else frames(files[0])
        known = {"total_num_frames": len(seen), "fps": fps, "duration": len(seen) / fps}
        given |= {"videos": [seen], "video_metadata": [known | {"frames_indices": list(range(len(seen)))}]}
        given |= {"do_sample_frames": True, "num_frames": FRAMES, "fps": None}
    return processor(text=[text], **given, return_tensors="pt")


def plain_answer(model: Any, processor: Any, inputs: Any) -> tuple[str, list[float]]:
    with torch.inference_mode():
        made = model.generate(
            **inputs, max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
    new = made.sequences[0, inputs["input_ids"].shape[1] :]
    logprobs = [
        float(step[0].double().log_softmax(-1)[i]) for step, i in zip(made.logits, new.tolist(), strict=True)
    ]
    return processor.decode(new, skip_special_tokens=True).strip(), logprobs


@pytest.mark.parametrize(
    ("model", "place", "image"),
    [
        *(
            (model, PLACES[model], language.VISION_START + IMAGES[model] + language.VISION_END)
            for model in IMAGES
        ),
        ("qwen3_vl", answering.START + answering.VIDEO + answering.END, answering.PICTURE),
    ],
)
def test_answers_are_those_of_plain_transformers(
    filmed: Path, tmp_path: Path, model: str, place: str, image: str
) -> None:
    """In one call with questions of an image and of text alone."""
    examples = asked(tmp_path / "data")
    plain = AutoModelForImageTextToText.from_pretrained(filmed / model).eval()
    processor = AutoProcessor.from_pretrained(filmed / model)
    with transformers_engine(filmed / model, **SETTINGS, video_frames=FRAMES) as engine:
        told: dict[str, Answer] = dict(engine.generate(list(examples.values())))
        scores = dict(engine.score([(example, "two one") for example in examples.values()]))
    assert told.keys() == examples.keys()
    for id, fps in {"one": 8.0, "two": 5.0, "still": 0.0, "placed": 8.0, "frames": 24.0, "text": 0.0}.items():
        inputs = plain_inputs(processor, examples[id], fps, place, image)
        text, logprobs = plain_answer(plain, processor, inputs)
        assert told[id].text == text, id
        assert [token.logprob for token in told[id].tokens] == pytest.approx(logprobs, abs=1e-4), id
    different = {id: answer.tokens for id, answer in told.items()}
    assert len(set(different.values())) == len(different)  # else equal answers would say nothing
    assert len({scores[place].tokens for place in range(len(examples))}) == len(examples)


def test_the_number_of_frames_and_the_order_change_the_answer(filmed: Path, tmp_path: Path) -> None:
    examples = asked(tmp_path / "data")
    ordered = examples["frames"]
    assert ordered.video is not None
    turned = Example("turned", "t", "largest digit", video=Video(ordered.video.files[::-1], of_frames=True))
    told = {}
    for most in (2, 4, None):
        with transformers_engine(filmed / "target", **SETTINGS, video_frames=most) as engine:
            told[most] = dict(engine.generate([examples["one"], ordered, turned]))
            assert engine.sampling == f"{most} frames"
    assert len({answers["one"].tokens for answers in told.values()}) == 3
    assert all(answers["frames"].tokens != answers["turned"].tokens for answers in told.values())


def test_a_video_that_is_gone_is_named(filmed: Path, tmp_path: Path) -> None:
    gone = Example("7", "t", "largest digit", where="q.jsonl, line 7", video=Video((tmp_path / "gone.mp4",)))
    with (
        transformers_engine(filmed / "target", **SETTINGS) as engine,
        pytest.raises(AdammsError, match=r"line 7: video .*gone\.mp4: no such file"),
    ):
        dict(engine.generate([gone]))


@pytest.mark.parametrize("value", [0, 1, -3, "many"])
def test_a_number_of_frames_that_is_none(filmed: Path, value: object) -> None:
    with pytest.raises(Exception, match="video_frames"):
        transformers_engine(filmed / "target", **SETTINGS, video_frames=value)
