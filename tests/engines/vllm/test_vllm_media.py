"""Real vLLM with several images, or a video, per question: as the transformers engine sees and answers them.

Every model is started once, for all of its questions.
"""

from pathlib import Path

import pytest
from configured import configured
from configured_engines import settings_of, transformers_engine, vllm_engine
from films import asked, filmed_models
from test_vllm import real

from adamms.checkpoint.reader import read_config
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.askable import check_askable
from adamms.engines.vllm.folder import check_limits
from adamms.errors import AdammsError

SETTINGS = {"batch_size": 8, "max_new_tokens": 5, "logprobs": 3, "video_frames": 4}
VLLM = {"cpu_kv_cache_gb": 1, "max_model_len": 256}
SAID = "two one"


@pytest.fixture(scope="module")
def filmed(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filmed_models(talkative, tmp_path_factory.mktemp("filmed"))


def several(folder: Path) -> list[Example]:
    """Questions with two and three images."""
    examples = configured("data/digits", folder=folder, per_task=1).load().examples
    one, two, three = (example.image for example in examples[:3])
    return [
        Example("before", "t", "largest digit", one, more_images=(two,)),
        Example("turned", "t", "largest digit", two, more_images=(one,)),
        Example("between", "t", "<image> largest <image> digit", one, more_images=(two,)),
        Example("three", "t", "<image> <image> largest digit <image> sum", one, more_images=(two, three)),
    ]


def logprobs(answer: Answer) -> list[float]:
    return [token.logprob for token in answer.tokens]


def greedy(answer: Answer) -> list[int]:
    """Its tokens. As text the two engines write half characters in their own ways."""
    return [token.likeliest[0][0] for token in answer.tokens]


@real
@pytest.mark.parametrize("model", ["target", "donor", "qwen3_vl"])
def test_images_and_videos_are_seen_as_transformers_sees_them(
    filmed: Path, tmp_path: Path, model: str
) -> None:
    """LLaVA-OneVision is asked about videos alone, see `ONE_IMAGE`. 1e-3 are other kernels, in float32.

    The processor of the Qwen3-VL normalises videos in another way than images.
    """
    about = list(asked(tmp_path / "films").values())
    about += several(tmp_path) if model != "donor" else []
    said = [(example, SAID) for example in about]
    with transformers_engine(filmed / model, **SETTINGS, accelerator="cpu") as engine:
        plain, expected = dict(engine.generate(about)), dict(engine.score(said))
    most = {"images_per_prompt": 3 if model != "donor" else 1, "videos_per_prompt": 1}
    with vllm_engine(filmed / model, **SETTINGS, **VLLM, **most) as engine:
        told, scored = dict(engine.generate(about)), dict(engine.score(said))
        encoded = engine.images_encoded
        assert dict(engine.generate(about)) == told
        assert engine.images_encoded == encoded  # what was seen is kept for the next candidate
        gone = Example("gone", "t", "largest digit", about[0].video.files[0].with_name("gone.png"))
        with pytest.raises(AdammsError, match=r"example 'gone' with the image .*gone\.png is refused"):
            dict(engine.generate([gone]))
    for id, answer in told.items():
        assert greedy(answer) == greedy(plain[id]), id
        assert logprobs(answer) == pytest.approx(logprobs(plain[id]), abs=1e-3), id
    for place, answer in scored.items():
        assert logprobs(answer) == pytest.approx(logprobs(expected[place]), abs=1e-3), about[place].id
    assert len({answer.tokens for answer in told.values()}) == len(about)  # else equality would say little


def test_what_a_prompt_may_have_is_told_before_anything_starts(filmed: Path, tmp_path: Path) -> None:
    videos, images = asked(tmp_path / "films"), several(tmp_path)
    for model, own, example, message in (
        ("target", {}, videos["one"], r"a prompt may have none: engine\.videos_per_prompt=1"),
        ("target", {}, images[3], r"has 3 images, and a prompt may have 1: engine\.images_per_prompt=3"),
        ("donor", {"images_per_prompt": 4}, images[0], r"has 2 images, and vLLM cuts .*=transformers does"),
        ("donor", {"videos_per_prompt": 1, "images_per_prompt": 4}, videos["one"], ""),
        ("target", {"images_per_prompt": 3}, images[3], ""),
    ):
        settings = settings_of("vllm", **SETTINGS, **own)
        processor = settings.processor(filmed / model)
        limits = settings.limits_of(read_config(filmed / model), processor)
        if not message:
            check_askable(model, processor, [example], lambda _: None, limits)
            continue
        with pytest.raises(AdammsError, match=message):
            check_askable(model, processor, [example], lambda _: None, limits)


def test_more_than_vllm_takes_of_a_model_is_told_when_it_starts() -> None:
    """`supported` is what vLLM says of it."""
    wanted = settings_of("vllm", images_per_prompt=2, videos_per_prompt=1)
    check_limits(Path("M"), wanted, lambda: {"image": None, "video": None})
    with pytest.raises(AssertionError, match="asked"):
        check_limits(Path("M"), wanted, not_to_be_asked)
    check_limits(Path("M"), settings_of("vllm"), not_to_be_asked)
    for supported, message in (
        ({"image": 1, "video": 1}, r"M: engine\.images_per_prompt is 2; vLLM takes 1 with this model"),
        ({"image": None}, r"M: engine\.videos_per_prompt is 1; vLLM takes 0 with this model"),
    ):
        with pytest.raises(AdammsError, match=message):
            check_limits(Path("M"), wanted, lambda says=supported: says)


def not_to_be_asked() -> dict[str, int | None]:
    raise AssertionError("vLLM is asked")
